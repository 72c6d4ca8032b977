"""One engine, many objectives: a controlled comparison of objectives for distilling language models.

The public names are imported at first use, so that `import tgpo` loads neither torch nor transformers. docs/python.md
shows how they are used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tgpo.api import compose, evaluate, measure_divergence, read_run, read_sweep, train
    from tgpo.config.request import Request
    from tgpo.errors import RequestError
    from tgpo.objectives.base import Objective
    from tgpo.report.collect import RunFiles
    from tgpo.report.comparison import Sweep
    from tgpo.types.batch import ScoredBatch, TokenBatch
    from tgpo.types.problem import GroupComposition, Need, Problem, Reduction, Rollout
    from tgpo.types.scores import Credit, StudentScores, TokenLoss
    from tgpo.types.teacher import TeacherQuery, TeacherSignal

    __version__: str

__all__ = [
    "Credit",
    "GroupComposition",
    "Need",
    "Objective",
    "Problem",
    "Reduction",
    "Request",
    "RequestError",
    "Rollout",
    "RunFiles",
    "ScoredBatch",
    "StudentScores",
    "Sweep",
    "TeacherQuery",
    "TeacherSignal",
    "TokenBatch",
    "TokenLoss",
    "__version__",
    "compose",
    "evaluate",
    "measure_divergence",
    "read_run",
    "read_sweep",
    "train",
]

_MODULES = {
    "api": ("compose", "evaluate", "measure_divergence", "read_run", "read_sweep", "train"),
    "config.request": ("Request",),
    "errors": ("RequestError",),
    "objectives.base": ("Objective",),
    "report.collect": ("RunFiles",),
    "report.comparison": ("Sweep",),
    "types.batch": ("ScoredBatch", "TokenBatch"),
    "types.problem": ("GroupComposition", "Need", "Problem", "Reduction", "Rollout"),
    "types.scores": ("Credit", "StudentScores", "TokenLoss"),
    "types.teacher": ("TeacherQuery", "TeacherSignal"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("tgpo")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tgpo' has no attribute {name!r}")
    return getattr(import_module(f"tgpo.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
