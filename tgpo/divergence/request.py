"""Checks the section `divergence` of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from tgpo.config import compose
from tgpo.config.check import explain_validation, option_names
from tgpo.config.request import Request
from tgpo.errors import RequestError
from tgpo.options import Options

K = Annotated[int, Field(ge=1)]


class DivergenceOptions(Options):
    problems: Literal["held_out", "training"]
    prompts: int = Field(ge=2)  # an interval by prompt needs two
    samples: int = Field(ge=1)
    topk: K
    overlap_at: list[K] = Field(min_length=1)
    coverage_at: list[K] = Field(min_length=1)
    resamples: int = Field(ge=100)  # with 100, 2 or 3 resamples are beyond each end of a 95 % interval
    level: float = Field(gt=0, lt=100)
    output_dir: str = Field(min_length=1)

    @field_validator("overlap_at", "coverage_at")
    @classmethod
    def _ascending(cls, ks: list[int]) -> list[int]:
        return sorted(set(ks))


def request_of(arguments: Sequence[str]) -> tuple[Request, DivergenceOptions]:
    """Returns the checked request and the checked options of `tgpo divergence`; both models' files are checked too."""
    request, own = compose.request_of("divergence", arguments)
    options = check_options(own)
    check_engines(request)

    from tgpo.preflight.checks import check_models

    check_models(request)
    return request, options


def check_options(own: Any) -> DivergenceOptions:
    if not isinstance(own, dict):
        raise RequestError(f"divergence={own}: it is a section; give its options, as divergence.prompts=64")
    try:
        return DivergenceOptions.model_validate(own)
    except ValidationError as error:
        raise RequestError(
            explain_validation(error, option_names(DivergenceOptions, "divergence."), "divergence.")
        ) from error


def check_engines(request: Request) -> None:
    """Checks that there is a teacher that gives complete distributions, and that the rollout engine is installed."""
    from tgpo.models.vllm import check_installed

    if request.options.rollout.backend == "vllm":
        check_installed("rollout=vllm")
    if not request.teachers:
        raise RequestError("teacher=none was given, and a divergence is from a teacher; choose one")
    teacher, *others = request.teachers
    if others:
        raise RequestError(
            f"teachers: {len(request.teachers)} are named, and a divergence is from one; leave them out and give "
            "teacher.path"
        )
    if teacher.options.backend != "hf":
        raise RequestError(
            f"teacher.backend={teacher.options.backend} gives log-probabilities of a few tokens, neither whole "
            "distributions nor responses of its own; use teacher.backend=hf"
        )
