"""Compiles elementwise operations over the whole vocabulary into one kernel where that matters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from tgpo.errors import first_line

P = ParamSpec("P")
T = TypeVar("T")


def fused_on_cuda(function: Callable[P, T]) -> Callable[P, T]:
    """Returns the same function, compiled for calls where the first argument is on a GPU and no gradient is taken.

    A chunk of logits is then read and written once, not once per operation: at 151,936 columns, these reads and writes
    take most of the head's forward and backward pass, not its matrix products. On the CPU and under autograd, the
    function itself is called; on a GPU too if torch finds no compiler, after one warning.
    """
    compiled: Any = None

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal compiled
        first = args[0]
        if not (isinstance(first, Tensor) and first.is_cuda) or torch.is_grad_enabled():
            return function(*args, **kwargs)
        if compiled is None:
            compiled = torch.compile(function, dynamic=True)
        try:
            return compiled(*args, **kwargs)
        except Exception as error:
            from torch._dynamo.exc import BackendCompilerFailed  # takes a second to import

            if not isinstance(error, BackendCompilerFailed):
                raise
            warnings.warn(f"torch.compile does not work here, going on without: {first_line(error)}", stacklevel=2)
            compiled = function
            return function(*args, **kwargs)

    return called
