"""Rollouts with a vLLM engine in this process, which is given the trainer's weights after every update.

The engine's configuration says that the output head is not tied to the embeddings, even if it is, and `sync` sends
both: with a tied head, vLLM's reload silently leaves the head as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from tgpo.errors import RequestError
from tgpo.models.vllm import make_engine
from tgpo.models.weights import plain_weights
from tgpo.options import VLLMOptions
from tgpo.rollout.base import Sampling, encode_prompts
from tgpo.types.problem import Problem, Rollout

SEED_STRIDE = 1_000_003  # between the seeds of two problems: vLLM adds the sample's number to its problem's seed
# the largest difference from the trainer's log-probability that is taken for rounding, by type of the forward pass
ROUNDING = {"float32": 1e-3, "bfloat16": 0.5}


class VLLMRollout:
    """The `vllm` rollout engine.

    Args:
        engine: a `vllm.LLM`.
        model: the trainer's, whose weights `sync` copies.
    """

    def __init__(
        self, engine: Any, model: PreTrainedModel, tokenizer: Any, eos_ids: Sequence[int], sleep: bool = False
    ) -> None:
        self.engine, self.model, self.tokenizer, self.eos_ids = engine, model, tokenizer, list(eos_ids)
        self.sleep, self.policy_version = sleep, 0

    def generate(self, problems: Sequence[Problem], sampling: Sampling) -> list[Rollout]:
        from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]  the package, not this file

        prompts = encode_prompts(self.tokenizer, problems)
        parameters = [
            SamplingParams(
                n=sampling.samples_per_problem,
                temperature=sampling.temperature,
                max_tokens=sampling.max_response_length,
                seed=(sampling.seed + SEED_STRIDE * (sampling.first_problem + number)) % 2**62,
                logprobs=0,  # of the sampled token alone
                flat_logprobs=True,
                stop_token_ids=self.eos_ids,
                detokenize=False,
            )
            for number in range(len(problems))
        ]
        self._wake()
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        answers = self.engine.generate(inputs, parameters, use_tqdm=False)
        self._sleep()
        return [
            self._rollout(problems[group], group, prompts[group], output)
            for group, answer in enumerate(answers)
            for output in sorted(answer.outputs, key=lambda output: output.index)
        ]

    def sync(self, policy_version: int) -> None:
        """Copies the trainer's weights, and clears the prefix cache, which was computed by the old policy."""
        self._wake()
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": plain_weights(self.model)})
        self.engine.reset_prefix_cache()
        self._sleep()
        self.policy_version = policy_version

    def largest_gap(self, problems: Sequence[Problem], tokens: int) -> float:
        """Returns the largest |log-probability - the trainer's| over a few sampled responses.

        Right after a sync, it should be no more than rounding.
        """
        gaps = []
        for rollout in self.generate(problems, Sampling(1, 1.0, tokens, seed=0)):
            ids = torch.tensor([rollout.prompt_ids + rollout.response_ids], device=self.model.device)
            with torch.no_grad():
                logits = self.model(ids).logits[0, len(rollout.prompt_ids) - 1 : -1, : len(self.tokenizer)]
            expected = logits.float().log_softmax(-1).gather(-1, ids[0, len(rollout.prompt_ids) :, None])[:, 0]
            assert rollout.logprobs is not None
            gaps.append((expected - torch.tensor(rollout.logprobs, device=expected.device)).abs())
        return torch.cat(gaps).max().item()  # NaN if any gap is NaN

    def _rollout(self, problem: Problem, group: int, prompt: tuple[int, ...], output: Any) -> Rollout:
        ids = tuple(output.token_ids)
        return Rollout(
            problem=problem,
            group=group,
            prompt_ids=prompt,
            response_ids=ids,
            logprobs=tuple(output.logprobs.logprobs),
            source="student",
            finish_reason="eos" if ids[-1] in self.eos_ids else "length",
            policy_version=self.policy_version,
        )

    def _wake(self) -> None:
        if self.sleep:
            self.engine.wake_up()

    def _sleep(self) -> None:
        """Frees the device's memory for the trainer until the next call; level 1 keeps the weights in host memory."""
        if self.sleep:
            self.engine.sleep(level=1)


def load(
    path: str,
    model: PreTrainedModel,
    tokenizer: Any,
    eos_ids: Sequence[int],
    dtype: str,
    longest: int,
    options: VLLMOptions,
    probe: Sequence[Problem],
    replaced: Mapping[str, Any] | None = None,
) -> VLLMRollout:
    """Called by the run for `rollout.backend=vllm`; checks once that it samples from the trainer's policy.

    Args:
        replaced: fields of the model's configuration that are replaced, as in the trainer's model.
    """
    engine = make_engine(
        path,
        dtype,
        options,
        options.rollout_memory,
        longest,
        len(tokenizer),
        load_format="dummy",  # the weights come with the first sync
        hf_overrides={**(replaced or {}), "tie_word_embeddings": False},
        enable_prefix_caching=True,
    )
    rollout = VLLMRollout(engine, model, tokenizer, eos_ids, options.sleep and torch.cuda.is_available())
    rollout._sleep()
    rollout.sync(0)
    gap = rollout.largest_gap(probe, tokens=8)
    if not gap < ROUNDING[dtype]:
        raise RequestError(
            f"rollout=vllm: after a weight sync its log-probabilities are {gap:.3g} nats from the trainer's; this "
            "model cannot be kept in step, use rollout=hf"
        )
    return rollout
