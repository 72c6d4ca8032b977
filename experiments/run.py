"""`python -m experiments.run NAME` runs what the experiment NAME is read from; a sweep that is not done goes on."""

from __future__ import annotations

import argparse
import subprocess
import sys

from experiments.catalogue import CATALOGUE
from experiments.sweeps import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.run", description=__doc__)
    parser.add_argument("name", choices=CATALOGUE, metavar="NAME", help=", ".join(CATALOGUE))
    experiment = CATALOGUE[parser.parse_args().name]
    for sweep in (*([experiment.first] if experiment.first else []), *experiment.sources):
        begun = any((ROOT / "multirun" / sweep).glob("*/sweep.json"))
        command = [sys.executable, "run.py", "-m", f"experiment={sweep}", "launcher=local"]
        done = subprocess.run([*command, *(["rerun=failed"] if begun else [])], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
