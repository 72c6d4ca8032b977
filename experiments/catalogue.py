"""The experiments that are a sweep and a table, and how the runs of each are grouped. `NAME/README.md` says why."""

from __future__ import annotations

from experiments.tables import COST, LENGTH, Experiment

MEASURED = ("gradient_variance",)  # without a sweep: each has a module that measures and writes
KNOBS = ("weight", "beta", "demonstrations", "topk", "variant", "estimator")

CATALOGUE = {
    experiment.name: experiment
    for experiment in (
        Experiment("learning_rate", across="train.lr", unit="learning rate", log=True),
        Experiment("tuning", rows=("objective", "train.warmup_steps", *(f"objective.{knob}" for knob in KNOBS))),
        Experiment("compare", baseline="grpo"),
        Experiment("warmup", rows=("objective", "train.warmup_steps")),
        Experiment(
            "tgpo_adv_control",
            sweeps=("compare",),
            only=("grpo", "tgpo_adv", "constant_bonus"),
            baseline="constant_bonus",
        ),
        Experiment("compute", sweeps=("compare",), numbers=COST, baseline="grpo"),
        Experiment(
            "policy_gap",
            across="student",
            order="first reverse KL",
            unit="reverse KL at step 1 and student",
            sweeps=("policy_gap", "compare"),
        ),
        Experiment("placement", rows=("objective.estimator",), across="student"),
        Experiment(
            "teacher_needed",
            rows=("objective", "train.lr", "objective.beta"),
            sweeps=("teacher_needed", "teacher_needed_rates"),
            own=2,
            baseline="grpo lr=0.0001",
        ),
        Experiment(
            "reward_term",
            rows=("objective", "objective.reward", "objective.weight"),
            across="student",
            sweeps=("reward_term", "compare"),
        ),
        Experiment("target", rows=("objective.target", "objective.topk"), across="objective.reward"),
        Experiment("schedule", rows=("objective.weight", "objective.weighting", "objective.mismatch_budget")),
        Experiment(
            "length",
            rows=("objective", "objective.reward", "objective.mask_eos", "objective.beta"),
            across="student",
            sweeps=("length", "length_peaked"),
            own=2,
            numbers=LENGTH,
        ),
        Experiment(
            "sequential",
            rows=("objective", "student.name"),
            first="sequential_distil",
            sweeps=("sequential", "compare"),
            only=(
                "grpo name=distilled",
                *(f"{joint} name=tiny-large-gap" for joint in ("tgpo", "kdrl", "grpo", "luffy")),
            ),
        ),
        Experiment("noisy_teacher", across="teacher", sweeps=("noisy_teacher", "compare")),
        Experiment(
            "teacher_style",
            rows=("objective", "train.steps", "train.lr"),
            across="teacher",
            sweeps=("teacher_style", "teacher_style_longer", "teacher_style_others", "compare"),
            own=3,
        ),
        Experiment("beyond_teacher", rows=("objective.extrapolation",), across="teacher", unit="teacher"),
        Experiment(
            "prompt_gap",
            rows=("objective", "teacher.system_prompt", "teacher.chat_template"),
            baseline="grpo chat_template=student",
        ),
        Experiment("teacher_context", across="teacher/context", unit="what the teacher reads"),
        Experiment(
            "self_teacher",
            rows=("objective", "teacher/context"),
            across="teacher.weights",
            unit="whose weights the teacher has",
            sweeps=("self_teacher", "teacher_context"),
        ),
        Experiment(
            "two_teachers",
            rows=("objective", "teacher.name"),
            across="task.minus",
            unit="share of the training sums with minus",
        ),
    )
}
