"""A teacher in a vLLM engine in this process: prompt log-probabilities of the student's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tgpo.models.vllm import make_engine
from tgpo.options import VLLMOptions
from tgpo.teachers.base import Answer, signal_of
from tgpo.types.batch import TokenBatch
from tgpo.types.teacher import TeacherQuery, TeacherSignal


class VLLMTeacher:
    """The `vllm` teacher backend; `engine` is a `vllm.LLM` made for at least the largest top-k of any query."""

    states_width = None  # vLLM returns prompt log-probabilities only
    together = False

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def score(self, tokens: TokenBatch, query: TeacherQuery) -> TeacherSignal:
        from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]  the package, not this file

        parameters = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=query.topk, flat_logprobs=True, detokenize=False
        )
        prompts = tokens.sequences()
        inputs = [{"prompt_token_ids": list(prompt + response)} for prompt, response in prompts]
        outputs = self.engine.generate(inputs, parameters, use_tqdm=False)
        return signal_of(
            [answer(o.prompt_logprobs, len(p), query.topk) for o, (p, _) in zip(outputs, prompts, strict=True)],
            tokens,
            query.topk,
        )


def answer(found: Any, prompt_length: int, topk: int) -> Answer:
    """Returns one response's scores from vLLM's flat lists: at each position the token itself, then the best in order.

    Position i holds the log-probability of token i given the tokens before it, so the response begins at the index
    `prompt_length`; position 0 is empty.
    """
    starts = found.start_indices[prompt_length:]
    return Answer(
        logprobs=[found.logprobs[s] for s in starts],
        topk_ids=[found.token_ids[s + 1 : s + 1 + topk] for s in starts],
        topk_logprobs=[found.logprobs[s + 1 : s + 1 + topk] for s in starts],
    )


def load(
    path: str,
    dtype: str,
    vocabulary: int,
    longest: int,
    topk: int,
    options: VLLMOptions,
    replaced: Mapping[str, Any] | None = None,
) -> VLLMTeacher:
    """Called by the run for `teacher.backend=vllm`; `replaced` are fields of the model's configuration."""
    return VLLMTeacher(
        make_engine(
            path,
            dtype,
            options,
            options.teacher_memory,
            longest,
            vocabulary,
            max_logprobs=max(topk, 1),
            max_num_batched_tokens=options.teacher_batched_tokens,
            hf_overrides=dict(replaced or {}),
        )
    )
