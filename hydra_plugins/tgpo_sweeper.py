"""Hydra's own sweeper, which also records the sweep's runs on disk before the first begins, and reports failed ones.

Hydra finds plugins only in the namespace package `hydra_plugins`. `tgpo/runs/sweep.py` defines what a sweep is.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from tgpo.cli.sweep_reports import ending, report
from tgpo.config.compose import in_its_group
from tgpo.config.messages import literal
from tgpo.errors import STOPPED, RequestError
from tgpo.runs.keys import option_of
from tgpo.runs.sweep import Cell, Lock, Outcome, name_cells, newest_sweep, read_plan, write_plan

Launched = dict[str, Outcome]


class TGPOSweeper(BasicSweeper):
    """Runs the product of all values of `params`, as Hydra does (the first varies slowest), with each of `arms`.

    An arm is one or several options, such as `objective=kdrl objective.mask=incorrect`, for combinations that are not a
    product of values.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        arms: Sequence[str] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.arms = [shlex.split(arm) for arm in arms or [""]]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        check_launcher(config)
        if config.resume is not None:
            raise RequestError("resume goes on with one run; leave out -m (a sweep goes on with rerun=failed)")
        if not config.hydra.sweep.dir:
            raise RequestError("sweep_dir=: give a folder")
        self.rerun = config.rerun
        if self.rerun not in (None, "failed"):
            raise RequestError(f"rerun={self.rerun}: it is failed, or null")
        self.directory = Path(config.hydra.sweep.dir).absolute()
        given = [option_of(o) for o in [*config.hydra.overrides.task, *config.hydra.overrides.hydra]]
        if self.rerun and not {"sweep_dir", "hydra.sweep.dir"} & set(given):
            self.directory = newest_sweep(self.directory.parent)
        with open_dict(config):  # launchers write their own files there
            config.hydra.sweep.dir = str(self.directory)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Runs every cell that is not done, prints which are still not done afterwards, and ends the process."""
        cells = self.planned(arguments)
        for_launcher = [o for o in arguments if option_of(o) == "launcher"]
        waiting = [cell for cell in cells if not cell.is_done(self.directory)]
        outcomes: Launched = {}
        interrupted = False
        lock = Lock(self.directory)
        try:
            self.launch_all(waiting, for_launcher, outcomes)
        except KeyboardInterrupt:
            interrupted = True
        except Exception:  # noqa: BLE001  any error of the launcher: the runs' states are still reported
            traceback.print_exc()
        finally:
            lock.release()
        end = ending(self.directory, cells, outcomes, interrupted)
        try:
            report(self.directory, cells)
        except Exception:  # noqa: BLE001  any error: failed runs are still listed below
            traceback.print_exc()
        print("\n".join(end.lines), file=sys.stderr if end.code else sys.stdout, flush=True)
        sys.exit(end.code)

    def planned(self, arguments: list[str]) -> list[Cell]:
        """Returns the cells. All are composed once, so that a wrong name ends the sweep before it begins."""
        if self.rerun:
            cells = read_plan(self.directory, arguments)
            self.validate_batch_is_legal([list(map(in_its_group, cell.overrides)) for cell in cells])
            return cells
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides([*self._parse_config(), *arguments])
        (products,) = self.split_arguments(parsed, None)
        expanded = [[*overrides, *arm] for overrides in products for arm in self.arms]
        self.validate_batch_is_legal(expanded)
        cells = name_cells(expanded)
        write_plan(self.directory, cells, arguments)
        return cells

    def launch_all(self, waiting: Sequence[Cell], for_launcher: list[str], outcomes: Launched) -> None:
        """Runs all cells, even if some of them fail.

        A killed process breaks its pool. Cells that had not begun run in a new pool; those that were running start
        again one at a time, so that only the one that is killed again is lost.
        """
        again: list[Cell] = []
        since = time.time()  # a status from before this time is of an earlier attempt
        while waiting:
            try:
                self.launch(waiting, for_launcher, outcomes)
                break
            except BrokenProcessPool:
                begun = [cell for cell in waiting if cell.began(self.directory) >= since]
                if not begun:
                    raise
                again += [cell for cell in begun if cell.state(self.directory) == "running"]
                waiting = [cell for cell in waiting if cell not in begun]
        for cell in again:
            try:
                self.launch([cell], for_launcher, outcomes)
            except BrokenProcessPool:
                outcomes[cell.folder] = Outcome(STOPPED, "its process was killed, twice; is there memory enough?")

    def launch(self, cells: Sequence[Cell], for_launcher: list[str], outcomes: Launched) -> None:
        assert self.launcher is not None
        batch = [overrides_of(cell, self.directory, for_launcher) for cell in cells]
        for cell, returned in zip(cells, self.launcher.launch(batch, initial_job_idx=0), strict=True):
            try:
                outcomes[cell.folder] = returned.return_value
            except Exception as error:  # noqa: BLE001  any error of the job is the cell's reason
                outcomes[cell.folder] = Outcome(STOPPED, f"{type(error).__name__}: {error}")


def overrides_of(cell: Cell, sweep: Path, for_launcher: list[str]) -> list[str]:
    """Returns the cell's overrides with its folder, which keeps its name whatever else is launched."""
    return [*map(in_its_group, cell.overrides), *for_launcher, f"hydra.sweep.dir={literal(str(sweep))}",
            f"hydra.sweep.subdir={literal(cell.folder)}"]  # fmt: skip


def check_launcher(config: DictConfig) -> None:
    if config.hydra.launcher._target_.endswith("SlurmLauncher") and shutil.which("sbatch") is None:
        raise RequestError("launcher=slurm: no sbatch on this machine; run it on a login node of the cluster")
