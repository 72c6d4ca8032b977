"""What TensorBoard is given, read back by TensorBoard's own reader."""

from __future__ import annotations

import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tgpo.metrics.tensorboard import TensorBoardSink


def scalars(folder, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_the_same_names_with_steps_on_the_axis(tmp_path):
    sink = TensorBoardSink(tmp_path, {"seed": 3}, done=0)
    sink.write({"kind": "train", "step": 1, "loss/total": 0.5, "gradient/variance_method": "exact"})
    sink.write({"kind": "train", "step": 2, "loss/total": float("nan"), "train/updates": 1})
    sink.write({"kind": "train", "step": 3, "loss/total": 0.25})
    sink.close({}, failed=False)
    assert scalars(tmp_path, "loss/total") == [(1, 0.5), (3, 0.25)]
    assert scalars(tmp_path, "train/updates") == [(2, 1.0)]


def test_what_a_resumed_run_writes_again_hides_what_was_written_before(tmp_path):
    for value in (0.0, 1.0):  # killed before its first checkpoint it begins again
        first = TensorBoardSink(tmp_path, {}, done=0)
        for step in (1, 2, 3):
            first.write({"kind": "train", "step": step, "x": value})
        first.close({}, failed=True)
    second = TensorBoardSink(tmp_path, {}, done=1)
    second.write({"kind": "train", "step": 2, "x": 2.0})
    second.close({}, failed=False)
    assert scalars(tmp_path, "x") == [(1, 1.0), (2, 2.0)]
