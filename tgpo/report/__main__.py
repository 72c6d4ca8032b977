"""`python -m tgpo.report DIR [DIR ...]` writes the report of a run, or one report of all runs below the directories."""

from __future__ import annotations

import argparse
from pathlib import Path

from tgpo.errors import Parser, RequestError, exit_on_error


def main() -> None:
    parser = Parser(
        prog="python -m tgpo.report",
        description="The report of one run, or of a sweep: every run at or below the directories, finished or not.",
    )
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="a run's directory, or folders of runs"
    )
    parser.add_argument("--output", type=Path, help="where a sweep's report goes (default: DIR/report)")
    parser.add_argument("--baseline", help="objective or arm that the others are compared with (default: grpo)")
    parser.add_argument(
        "--task", help="the task to compare on, where runs differ in it (default: the task of most runs)"
    )
    arguments = parser.parse_args()
    with exit_on_error():
        print(f"report  {report(arguments)}")


def report(arguments: argparse.Namespace) -> Path:
    first = arguments.directories[0]
    for directory in arguments.directories:
        if not directory.is_dir():
            raise RequestError(f"{directory}: no such directory")
    if len(arguments.directories) == 1 and (first / "config.yaml").is_file():
        if arguments.output or arguments.baseline or arguments.task:
            raise RequestError(f"{first} is one run: --output, --baseline and --task are for sweeps")

        from tgpo.report.page import write_report

        return write_report(first)

    from tgpo.report.sweep_page import write_sweep_report

    options = {"baseline": arguments.baseline, "task": arguments.task}
    return write_sweep_report(arguments.directories, arguments.output, **options)


if __name__ == "__main__":
    main()
