"""`python -m experiments.run NAME` carries out a complete experiment: its runs, then results/NAME.

`make reproduce EXP=NAME` calls it. A sweep that was cut short continues where it stopped; a complete one is not rerun.
"""

from __future__ import annotations

import subprocess
import sys

from experiments.catalogue import CATALOGUE, MEASURED
from experiments.sweeps import ROOT
from tgpo.errors import Parser


def commands(name: str) -> list[list[str]]:
    if name in MEASURED:
        return [["-m", f"experiments.{name}"]]
    experiment, runs = CATALOGUE[name], list[list[str]]()
    for sweep in (*([experiment.first] if experiment.first else []), *experiment.sources):
        begun = any((ROOT / "multirun" / sweep).glob("*/sweep.json"))
        runs.append(["run.py", "-m", f"experiment={sweep}", "launcher=local", *(["rerun=failed"] if begun else [])])
    return [*runs, ["-m", "experiments", name]]


def main() -> None:
    parser = Parser(prog="python -m experiments.run", description=__doc__)
    names = [*CATALOGUE, *MEASURED]
    parser.add_argument("name", choices=names, metavar="NAME", help=", ".join(names))
    for command in commands(parser.parse_args().name):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
