"""`python -m tgpo.demonstrations demonstrations.path=FOLDER [key=value ...]`: the options of `run.py`.

Samples from the teacher the demonstrations that a run with the same options would need, and keeps the right ones. After
a kill the same command continues with what is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tgpo.config.compose import request_from
from tgpo.errors import RequestError, exit_on_error


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    with exit_on_error("interrupted; the same command goes on with what is not done"):
        request = request_from(sys.argv[1:])
        if not request.options.demonstrations.path:
            raise RequestError("say where they go: demonstrations.path=FOLDER")
        if not request.teachers:
            raise RequestError("teacher=none was given; demonstrations are a teacher's")
        if any(teacher.options.backend == "server" for teacher in request.teachers):
            raise RequestError("teacher.backend=server scores and does not write; use teacher.backend=hf")

        from tgpo.preflight.checks import check_models

        check_models(request)

        from tgpo.demonstrations.generate import demonstrate

        folder = Path(request.options.demonstrations.path)
        tally = demonstrate(request, folder, print)
        print(f"{tally.kept} demonstrations of {tally.answered} of {tally.problems} problems in {folder}")


if __name__ == "__main__":
    main()
