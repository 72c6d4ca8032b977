"""A teacher behind one or several of vLLM's OpenAI-compatible servers: prompt log-probabilities over HTTP.

Requests are spread over the servers and sent concurrently. One that fails is sent again, to the next server, after a
growing pause; after `server.patience` seconds without an answer the run stops with a checkpoint.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from tgpo.errors import RequestError, StoppedError
from tgpo.options import ServerOptions
from tgpo.teachers.base import Answer, signal_of
from tgpo.types.batch import TokenBatch
from tgpo.types.teacher import TeacherQuery, TeacherSignal

PASSING = (404, 408, 425, 429)  # temporary refusals: the cause is a proxy or a busy server, not the request
LONGEST_PAUSE = 20.0  # seconds between two tries
IDS_AT_ONCE = 1_000  # per request, when the vocabularies are compared
SPARE = 8  # best tokens requested beyond those needed, where some may be the teacher's extra tokens


class AnswerError(Exception):
    """The server's answer does not contain what was requested."""


class ServerTeacher:
    """The `server` teacher backend.

    Args:
        model: the name it is served under.
        shared: with `teacher.extra_tokens=drop`, the ids below this are the student's too; higher ids are left out.
    """

    states_width = None  # a server returns prompt log-probabilities only
    together = False

    def __init__(self, model: str, options: ServerOptions, shared: int | None = None) -> None:
        self.model, self.options, self.shared = model, options, shared
        self.client = httpx.Client(timeout=options.timeout, headers=credentials(options), trust_env=False)

    def score(self, tokens: TokenBatch, query: TeacherQuery) -> TeacherSignal:
        sequences = tokens.sequences()
        with ThreadPoolExecutor(self.options.concurrency) as pool:
            answers = list(pool.map(self._answer, range(len(sequences)), sequences, repeat(query.topk)))
        return signal_of(answers, tokens, query.topk)

    def _answer(self, number: int, sequence: tuple[tuple[int, ...], tuple[int, ...]], topk: int) -> Answer:
        prompt, response = sequence
        body = scoring(self.model, [*prompt, *response], topk, self.shared)
        tries = Retrying(
            stop=stop_after_delay(self.options.patience),
            wait=wait_exponential_jitter(multiplier=0.5, max=LONGEST_PAUSE),
            retry=retry_if_exception_type((httpx.TransportError, httpx.HTTPStatusError, AnswerError)),
        )
        try:
            for attempt in tries:
                with attempt:
                    urls = self.options.urls
                    url = urls[(number + attempt.retry_state.attempt_number - 1) % len(urls)]
                    reply = self.client.post(f"{url}/v1/completions", json=body)
                    if 400 <= reply.status_code < 500 and reply.status_code not in PASSING:
                        raise RequestError(f"the teacher's server refused: {complaint(reply)}")
                    reply.raise_for_status()
                    return answer(reply, len(prompt), len(response), topk, self.shared)
        except RetryError as error:
            last = error.last_attempt.exception()
            raise StoppedError(
                f"the teacher's server gave no answer for {self.options.patience:.0f} s ({describe(last)})"
            ) from last
        raise AssertionError("unreachable: a try ends in an answer or in an error")


def scoring(model: str, ids: list[int], topk: int, shared: int | None = None) -> dict[str, Any]:
    requested = topk + (0 if shared is None else SPARE)
    return {"model": model, "prompt": ids, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": requested}


def answer(found: httpx.Response, prompt: int, response: int, topk: int, shared: int | None = None) -> Answer:
    """Returns one response's scores from the server's answer; raises AnswerError if they are not in it.

    At each position the answer has `{token id: {logprob, rank}}`: the token itself, then the best. The first is null.
    """
    requested = topk + (0 if shared is None else SPARE)
    try:
        positions = found.json()["choices"][0]["prompt_logprobs"][prompt:]
        entries = [list(position.items()) for position in positions]
        sampled = [at[0][1]["logprob"] for at in entries]
        best = [
            sorted((e["rank"], int(token), e["logprob"]) for token, e in at if e["rank"] <= requested) for at in entries
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise AnswerError(f"no log-probabilities in its answer: {found.text[:80]!r}") from error
    if shared is not None:
        shifts = [log_shared(at, shared) for at in best]
        sampled = [value - shift for value, shift in zip(sampled, shifts, strict=True)]
        best = [
            [(rank, token, value - shift) for rank, token, value in at if token < shared]
            for at, shift in zip(best, shifts, strict=True)
        ]
    if len(entries) != response or any(len(at) < topk for at in best):
        raise AnswerError(f"{len(entries)} positions of {response}, or fewer than {topk} tokens at one")
    return Answer(
        sampled, [[i for _, i, _ in at[:topk]] for at in best], [[value for _, _, value in at[:topk]] for at in best]
    )


def log_shared(best: Sequence[tuple[int, int, float]], shared: int) -> float:
    """Returns the log of the total probability of the ids below `shared`: 1 minus that of the other ids in `best`.

    Other ids that are not listed are counted as shared; each is less likely than every listed token. If the other ids
    have nearly all the probability, the sum over the listed shared ids is more accurate.
    """
    others = sum(math.exp(value) for _, token, value in best if token >= shared)
    listed = sum(math.exp(value) for _, token, value in best if token < shared)
    return math.log(max(1 - others, listed, sys.float_info.min))


def check_servers(
    model: str, options: ServerOptions, tokenizer: Any, longest: int, topk: int, shared: int | None = None
) -> None:
    """Raises RequestError unless each server is up, serves that model, has room for the longest sequence, and has the
    student's tokenizer."""
    if not options.urls:
        raise RequestError("teacher.backend=server needs server.urls=[http://HOST:PORT], one or several")
    with httpx.Client(timeout=options.timeout, headers=credentials(options), trust_env=False) as client:
        for url in options.urls:
            try:
                check_server(client, url, model, tokenizer, longest, topk, shared)
            except httpx.HTTPError as error:
                raise RequestError(f"server.urls: {url} does not answer ({describe(error)})") from error
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, AnswerError) as error:
                raise RequestError(f"server.urls: {url} is no vLLM server ({describe(error)})") from error


def check_server(
    client: httpx.Client, url: str, model: str, tokenizer: Any, longest: int, topk: int, shared: int | None
) -> None:
    client.get(f"{url}/health").raise_for_status()
    served = client.get(f"{url}/v1/models").raise_for_status().json()["data"]
    names = [name for card in served for name in (card["id"], card.get("root"))]
    if model not in names:
        raise RequestError(f"server.urls: {url} serves {names[0]}, and teacher.path is {model}")
    room = next(card["max_model_len"] for card in served if model in (card["id"], card.get("root")))
    if room is not None and longest >= room:  # the server generates one token after those it scores
        raise RequestError(f"server.urls: {url} takes {room} tokens and the run needs {longest}; raise its cap")
    reply = client.post(f"{url}/v1/completions", json=scoring(model, [0, 1], topk, shared))
    if reply.status_code == 400:
        raise RequestError(f"server.urls: {url} refuses a top-{topk}: {complaint(reply)}")
    answer(reply.raise_for_status(), 1, 1, topk, shared)
    for first in range(0, len(tokenizer), IDS_AT_ONCE):
        ids = list(range(first, min(first + IDS_AT_ONCE, len(tokenizer))))
        body = {"model": model, "tokens": ids}
        decoded = client.post(f"{url}/detokenize", json=body).raise_for_status().json()["prompt"]
        if decoded != tokenizer.decode(ids):
            raise RequestError(
                f"server.urls: {url} has another tokenizer than the student, among ids {first} to {ids[-1]}; "
                "choose a teacher of the student's family"
            )


def credentials(options: ServerOptions) -> dict[str, str]:
    """Returns the authorization header. The key is read from the environment, to keep it out of the configuration."""
    key = os.environ.get(options.key_variable)
    return {"Authorization": f"Bearer {key}"} if key else {}


def complaint(found: httpx.Response) -> str:
    try:
        return str(found.json()["error"]["message"]).splitlines()[0]
    except (ValueError, KeyError, TypeError, IndexError):
        return f"status {found.status_code}"


def describe(error: BaseException | None) -> str:
    if isinstance(error, httpx.HTTPStatusError):  # the error's own text is longer
        return f"status {error.response.status_code}"
    return f"{type(error).__name__}: {error}" if error else "no reason"


def load(model: str, options: ServerOptions, shared: int | None) -> ServerTeacher:
    """Called by the run for `teacher.backend=server`."""
    return ServerTeacher(model, options, shared)
