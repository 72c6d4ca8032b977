"""Numbers that are not: each planted in a real part, with what is counted of it and what comes of it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.compose import composed, group_choices
from tests.parts import driven, small, weights
from tgpo.config.check import check
from tgpo.errors import RequestError, StoppedError
from tgpo.models.loading import TINY_ROOT, load_model
from tgpo.runs.directory import complete
from tgpo.tasks.base import Rewards
from tgpo.training.loop import RunUnstableError
from tgpo.training.trainer import Trainer
from tgpo.types.problem import TEACHER_NEEDS, Need, Rollout
from tgpo.types.scores import TokenLoss

pytestmark = pytest.mark.slow

OBJECTIVES = group_choices("objective")


def not_finite(record: dict[str, Any]) -> list[str]:
    return [name for name, value in record.items() if isinstance(value, float) and not math.isfinite(value)]


class Rewritten:
    """The real rollout engine, each of its responses changed."""

    def __init__(self, engine, change: Callable[[int, Rollout], Rollout]) -> None:
        self.engine, self.change = engine, change

    def sync(self, version: int) -> None:
        self.engine.sync(version)

    def generate(self, problems, sampling):
        return [self.change(i, rollout) for i, rollout in enumerate(self.engine.generate(problems, sampling))]


def cut(rollout: Rollout, length: int, finish: Any = "length") -> Rollout:
    assert rollout.logprobs is not None
    return replace(
        rollout,
        response_ids=rollout.response_ids[:length],
        logprobs=rollout.logprobs[:length],
        finish_reason=finish,
    )


def trained(objective: str, change: Callable[[int, Rollout], Rollout]) -> dict[str, Any]:
    trainer = small(f"objective={objective}").trainer
    trainer.collector.rollout = Rewritten(trainer.collector.rollout, change)
    record, _ = trainer.step(1)
    assert not_finite(record) == []
    assert record["train/skipped_updates"] == 0
    return record


def test_what_is_about_the_students_responses_is_absent_without_any():
    record, _ = small("objective=sft").trainer.step(1)
    absent = ("policy/sampler_logprob_gap", "divergence/", "response/", "reward/mean")
    assert [name for name in record if name.startswith(absent)] == []
    assert record["time/teacher"] < record["time/update"]  # it is not asked


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_response_truncated(objective):
    record = trained(objective, lambda _, rollout: cut(rollout, 3))
    assert record.get("response/truncated_fraction", 1) == 1
    assert record.get("response/length_mean", 3) == 3


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_end_of_response_at_once(objective, tokenizer):
    end = tokenizer.eos_token_id
    record = trained(objective, lambda _, rollout: replace(cut(rollout, 1, "eos"), response_ids=(end,)))
    assert record.get("response/empty_fraction", 1) == 1
    assert record.get("response/length_mean", 1) == 1
    assert record.get("reward/equal_groups", 1) == 1  # nobody is right


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_some_responses_without_a_token(objective):
    record = trained(objective, lambda i, rollout: cut(rollout, 0) if i % 3 == 0 else rollout)
    assert 0 < record.get("response/empty_fraction", 0.5) < 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_response_with_a_token(objective):
    """Demonstrations are still learned from; where there are none there is nothing to score, and the run stops."""
    needs = check(composed(f"objective={objective}", "output_dir=unused")).objective.needs
    if Need.DEMONSTRATION in needs and objective != "gkd":  # by default gkd is on its own responses alone
        assert trained(objective, lambda _, rollout: cut(rollout, 0))["train/updates"] == 1
        return
    with pytest.raises(StoppedError, match="step 1: none of 16 responses has a token"):
        trained(objective, lambda _, rollout: cut(rollout, 0))


class Rewarding:
    """The real task, with some of its rewards replaced."""

    def __init__(self, task, change: Callable[[int, float], float]) -> None:
        self.task, self.change, self.rewarded = task, change, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def rewards(self, problems, responses) -> Rewards:
        found = self.task.rewards(problems, responses)
        self.rewarded += len(found.values)
        return Rewards([self.change(i, value) for i, value in enumerate(found.values)], found.timeouts)


def rewarded(objective: str, change: Callable[[int, float], float], steps: int = 1) -> tuple[Trainer, dict[str, Any]]:
    trainer, record = small(f"objective={objective}").trainer, {}
    trainer.collector.task = Rewarding(trainer.collector.task, change)
    for k in range(1, steps + 1):
        record, _ = trainer.step(k)
    return trainer, record


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rewards_that_are_not_finite_are_0_and_counted(objective):
    planted = {0: math.nan, 5: math.inf, 9: -math.inf}
    trainer, record = rewarded(objective, lambda i, value: planted.get(i, value))
    _, expected = rewarded(objective, lambda i, value: 0.0 if i in planted else value)
    count = sum(i < trainer.collector.task.rewarded for i in planted)
    assert (record.pop("reward/not_finite"), expected.pop("reward/not_finite")) == (count, 0)
    assert not_finite(record) == []
    assert untimed(record) == untimed(expected)


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if not k.startswith(("time/", "throughput/", "memory/"))}


def test_a_task_whose_rewards_are_whole_numbers():
    records = []
    for kind in (float, int):
        trainer = small("objective=grpo").trainer
        task = Rewarding(trainer.collector.task, lambda _, value: value)
        task.rewards = lambda problems, responses, kind=kind: Rewards([kind(i % 2) for i in range(len(problems))])
        trainer.collector.task = task
        records.append(untimed(trainer.step(1)[0]))
    assert records[0] == records[1]


def test_a_task_with_too_few_rewards():
    trainer = small("objective=grpo").trainer
    task = Rewarding(trainer.collector.task, lambda _, value: value)
    task.rewards = lambda problems, responses: Rewards([1.0])
    trainer.collector.task = task
    with pytest.raises(RequestError, match="gave 1 rewards for 16 responses"):
        trainer.step(1)


def test_equal_rewards_throughout_move_nothing():
    trainer, record = rewarded("grpo", lambda _, __: 1.0, steps=3)
    assert (record["gradient/norm"], record["reward/equal_groups"], record["train/skipped_updates"]) == (0, 1, 0)
    assert not_finite(record) == []
    assert torch.equal(weights(trainer), weights(small("objective=grpo").trainer))


def test_equal_rewards_after_a_gradient_leave_momentum_alone():
    """Steps are taken, and AdamW's momentum runs out as its formula says: it is not cut off, and it adds nothing."""
    options = ["objective=grpo", "train.warmup_steps=0"]
    trainer = small(*options).trainer
    before = weights(trainer)
    trainer.step(1)
    moves = [(weights(trainer) - before).abs().max().item()]
    trainer.collector.task = Rewarding(trainer.collector.task, lambda _, __: 0.0)
    for k in (2, 3, 4):
        before = weights(trainer)
        record, _ = trainer.step(k)
        assert record["gradient/norm"] == 0
        moves.append((weights(trainer) - before).abs().max().item())
    rate, (fade, fade_square) = 1e-4, trainer.options.betas
    for k, move in enumerate(moves, start=1):
        mean = fade ** (k - 1) * (1 - fade) / (1 - fade**k)
        square = fade_square ** (k - 1) * (1 - fade_square) / (1 - fade_square**k)
        # weights of about 1 are float32: a move of 1e-4 is known to 1e-3 of itself
        assert move == pytest.approx(rate * mean / math.sqrt(square), rel=2e-3)


class Corrupt:
    """The real teacher, one of whose answers has a number in it that is not finite."""

    together = False

    def __init__(self, teacher, name: str, value: float) -> None:
        self.teacher, self.name, self.value, self.states_width = teacher, name, value, teacher.states_width

    def score(self, tokens, query):
        signal = self.teacher.score(tokens, query)
        answer = getattr(signal, self.name)
        if answer is None:
            return signal
        corrupt = answer.clone()
        corrupt[0, 0] = self.value
        return replace(signal, **{self.name: corrupt})


ANSWERS = {
    Need.TEACHER_SAMPLED: "sampled_logprobs_BT",
    Need.TEACHER_TOPK: "topk_logprobs_BTK",
    Need.OLD_AT_TEACHER_TOPK: "topk_logprobs_BTK",
    Need.TEACHER_FULL: "hidden_BTH",
    Need.TEACHER_AT_STUDENT_TOPK: "at_student_topk_BTK",
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_teacher_whose_scores_are_not_finite_stops_the_run(objective, value):
    trainer = small(f"objective={objective}", "metrics.divergence_every=0").trainer
    needs = trainer.objective.needs & TEACHER_NEEDS & set(ANSWERS)
    for need in needs:
        corrupt = small(f"objective={objective}", "metrics.divergence_every=0").trainer
        corrupt.collector.panel.members[0].teacher = Corrupt(
            corrupt.collector.panel.members[0].teacher, ANSWERS[need], value
        )
        before = weights(corrupt)
        with pytest.raises(RequestError, match=f"of the teacher's {ANSWERS[need]} are not finite; check its weights"):
            corrupt.step(1)
        assert torch.equal(weights(corrupt), before)
    assert needs or not trainer.objective.needs & TEACHER_NEEDS


def test_a_step_that_stops_between_two_updates_leaves_no_checkpoint(tmp_path):
    """Its weights are those of no step, and a checkpoint would be taken for the step before."""
    parts = small("objective=gkd", "metrics.divergence_every=0", "train.updates_per_batch=2", "train.max_logits=4096")
    trainer, before = parts.trainer, weights(parts.trainer)

    class CorruptInTheSecond(Corrupt):
        def score(self, tokens, query):
            return (super() if trainer.mid_step else self.teacher).score(tokens, query)

    trainer.collector.panel.members[0].teacher = CorruptInTheSecond(
        trainer.collector.panel.members[0].teacher, "hidden_BTH", math.nan
    )
    with pytest.raises(RequestError, match="are not finite"):
        list(driven(parts, tmp_path))
    assert not torch.equal(weights(trainer), before)
    assert not complete(tmp_path / "checkpoints")


def spoiled(trainer: Trainer, spoil: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
    """Its objective's loss goes through `spoil`, with the number of the step."""
    objective, step = trainer.objective, [0]

    class Spoiled(type(objective)):
        def credit(self, batch, k):
            step[0] = k
            return super().credit(batch, k)

        def loss(self, student, batch, credit):
            answer = super().loss(student, batch, credit)
            return TokenLoss(spoil(answer.loss_BT, step[0]))

    trainer.objective = Spoiled()


def test_a_gradient_that_is_not_finite_under_a_loss_that_is():
    """The root of 0 has no slope: the loss is 0 and its gradient NaN."""
    trainer = small("objective=rkl", "train.updates_per_batch=2").trainer
    spoiled(trainer, lambda loss_BT, _: (loss_BT - loss_BT).sqrt())
    before = weights(trainer)
    record, _ = trainer.step(1)
    assert (record["train/skipped_updates"], record["train/updates"]) == (2, 2)
    assert "gradient/norm" not in record
    assert not_finite(record) == []
    assert torch.equal(weights(trainer), before)


def test_too_many_bad_steps_leave_a_checkpoint_that_is_finite(tmp_path):
    """Of the last step that was good; the record is JSON as the standard has it, and says what was skipped."""
    options = ["train.max_bad_steps=2", "eval.every=100", "task.eval_two_terms=2", "task.eval_more_terms=2"]
    parts = small("objective=rkl", *options)
    trainer = parts.trainer
    spoiled(trainer, lambda loss_BT, k: loss_BT * math.inf if k > 2 else loss_BT)
    seen = {}
    with pytest.raises(RunUnstableError, match="3 steps in a row had a loss or gradient that is not finite"):
        for step in driven(parts, tmp_path / "run"):
            seen[step] = weights(trainer).clone()
    assert list(seen) == [1, 2, 3, 4, 5]
    assert not torch.equal(seen[1], seen[2])
    assert torch.equal(seen[2], seen[5])
    newest = complete(tmp_path / "run" / "checkpoints")[-1]
    assert newest.name == "step-5"
    saved = load_file(newest / "model" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in saved.values())
    records = [strict(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [r["train/skipped_updates"] for r in records if r["kind"] == "train"] == [0, 0, 1, 1, 1]


def strict(line: str) -> dict[str, Any]:
    """NaN and Infinity are no JSON, though Python reads them."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in {line[:200]}")

    return json.loads(line, parse_constant=refuse)


def test_the_largest_learning_rate_leaves_finite_weights(tmp_path):
    """Whatever comes of the run: a move of AdamW is bounded by its rate, and the rate is by the configuration."""
    options = ["train.lr=1", "train.warmup_steps=0", "train.steps=4", "train.weight_decay=1", "eval.every=2"]
    parts = small("objective=rkl", *options, "task.eval_two_terms=2", "task.eval_more_terms=2")
    for _ in driven(parts, tmp_path / "run"):
        assert weights(parts.trainer).isfinite().all()
    records = [strict(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [0, 1, 2, 2, 3, 4, 4]


@pytest.fixture
def copied(tmp_path) -> Path:
    return Path(shutil.copytree(TINY_ROOT / "large-gap", tmp_path / "model"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_not_loaded(value, copied):
    tensors = load_file(copied / "model.safetensors")
    tensors["model.norm.weight"][3] = value
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(RequestError, match="its logits are not finite: a weight of it is NaN or infinite"):
        load_model(str(copied), "float32", "cpu")


def test_weights_that_are_missing_are_not_made_up(copied):
    tensors = load_file(copied / "model.safetensors")
    tensors["model.norm.wait"] = tensors.pop("model.norm.weight")
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(RequestError, match=r"1 of its weights are not in its files \(model\.norm\.weight\)"):
        load_model(str(copied), "float32", "cpu")
