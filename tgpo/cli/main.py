"""The `tgpo` command, the same as `python run.py`: runs one job in Hydra's main, or one of the other commands."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tgpo.cli import job
from tgpo.config import CONF
from tgpo.config.compose import prepared
from tgpo.config.messages import explain_hydra
from tgpo.errors import INTERRUPTED, REQUEST_IS_WRONG, STOPPED, RequestError, lines_of, program, without_credentials
from tgpo.options import KEY_ADVICE
from tgpo.runtime.interrupt import take_sigterm
from tgpo.runtime.torchrun import print_error

# The other commands are modules; `tgpo report DIR` is `python -m tgpo.report DIR`.
COMMANDS = ("report", "evaluate", "divergence", "demonstrations")
MODULES = {"evaluate": "evaluation"}


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def hydra_main(config: DictConfig) -> object:
    return job.run_job(config)


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        command = sys.argv.pop(1)
        runpy.run_module(f"tgpo.{MODULES.get(command, command)}", run_name="__main__", alter_sys=True)
        return
    guard(hydra_main)


def guard(main: Callable[[], None]) -> None:
    """Calls Hydra's main; reports errors that Hydra itself finds in one line, with exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise errors, which it would otherwise print with its own advice
    for argument in sys.argv[1:]:
        if without_credentials(argument) != argument:  # before a sweep names a folder after it
            what = "an address with a user name or password would be written into the run"
            fail(RequestError(f"{argument}: {what}; {KEY_ADVICE}"))
    sys.argv[1:] = map(prepared, sys.argv[1:])
    take_sigterm()
    try:
        check_flags()
        main()
    except (HydraException, OmegaConfBaseException) as error:
        fail(RequestError(explain_hydra(error)))
    except RequestError as error:
        fail(error)
    except BrokenPipeError:  # the reader of the output has gone, as with `tgpo --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that flushing at exit succeeds
        sys.exit(STOPPED)
    except (OSError, ValueError) as error:
        if any(frame.f_code is job.run_job.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        fail(RequestError(explain_hydra(error)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def check_flags() -> None:
    """Raises RequestError if Hydra's own flags are wrong; Hydra's check would print its usage as well."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise RequestError(f"{message}; {program()} --help lists the options")

    parser.error = refuse
    parser.parse_args()


def fail(error: RequestError) -> NoReturn:
    print_error(lines_of(error))
    sys.exit(REQUEST_IS_WRONG)
