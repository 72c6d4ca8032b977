"""`python -m tgpo.divergence student=… teacher=… [key=value ...]`: the options of `run.py`, and `divergence.*`.

Scores the student's own responses with the student and with the teacher: perplexity, KL both ways, agreement, density
ratios, top-k coverage, lengths and EOS, with bootstrap intervals by prompt. Nothing is trained. Its options:
conf/divergence.yaml. It prints a table and leaves table.md, divergence.json and divergence.svg.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from tgpo.config.folders import first_missing, remove_if_empty
from tgpo.divergence.request import request_of
from tgpo.errors import RequestError, exit_on_error
from tgpo.runs.files import make_folder


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    with exit_on_error(), ExitStack() as stack:
        request, options = request_of(sys.argv[1:])

        from rich.console import Console

        from tgpo.divergence.measure import choose, measure
        from tgpo.divergence.output import record, setting, show, write
        from tgpo.divergence.progress import progress
        from tgpo.divergence.quantities import findings

        problems = choose(request, options)
        folder = open_folder(Path(options.output_dir))
        stack.callback(remove_if_empty, folder)
        console = Console()
        with progress(console) as report_progress:
            counted = measure(request, options, problems, report_progress)
        results, heading = findings(counted, options, request.options.seed), setting(request, options, counted)
        write(folder, heading, results, counted, record(request, options, counted, results))
        show(console, heading, results)
        print(f"table, figure and JSON  {folder}")


def open_folder(folder: Path) -> Path:
    """Creates the output folder, before the work starts; raises RequestError if it holds a measurement."""
    if (folder / "divergence.json").exists():
        raise RequestError(f"divergence.output_dir={folder} already holds a measurement; give another, or move it away")
    first_missing(os.path.abspath(folder))
    return make_folder(folder, "divergence.output_dir")


if __name__ == "__main__":
    main()
