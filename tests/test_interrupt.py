"""What the first signal does, and the second."""

from __future__ import annotations

import os
import signal

import pytest

from tgpo.runtime.interrupt import Interrupt, take_sigterm


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in Interrupt.SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", Interrupt.SIGNALS)
def test_the_first_asks_and_a_sigint_after_it_insists(first, handlers):
    with Interrupt() as interrupt:
        assert not interrupt.requested
        send(first)
        assert interrupt.requested
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_of_several_processes_the_echo_of_the_first_is_not_a_second(handlers, monkeypatch):
    """Ctrl-C reaches each process from the terminal, and once more from torchrun."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Interrupt(several=True) as interrupt:
        send(signal.SIGINT)
        send(signal.SIGINT)
        assert interrupt.requested
        now += 2
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_outside_of_it_sigterm_is_an_exception_too(handlers):
    take_sigterm()
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
