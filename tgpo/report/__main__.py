"""`python -m tgpo.report RUN [RUN ...]` writes each run's report anew."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tgpo.errors import RequestError
from tgpo.report.page import write_report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tgpo.report", description="Write the report of each run.")
    parser.add_argument("runs", nargs="+", type=Path, help="a run's directory")
    arguments = parser.parse_args()
    try:
        for run in arguments.runs:
            print(write_report(run))
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
