"""How a numbered step starts and ends: logging on, settings read, an error told in one sentence."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings, load_settings


class StepError(RecsysError):
    """A step cannot go on. The message says what is wrong, where, and what to do."""


class CheckError(StepError):
    """Two things that must be equal are not. The message names the row and both values."""


def system_problem(error: OSError) -> str:
    """One sentence for what the operating system refused: a folder that cannot be made, a full disk.

    Raises the error itself when it did not come from the operating system.
    """
    if error.errno is None:
        raise error
    where = f" ({error.filename})" if error.filename is not None else ""
    return (
        f"the system says: {error.strerror}{where}. Check the path, its permissions and the disk; "
        "make room, or choose another folder with RECSYS_EXCHANGE_DIR, and run this again."
    )


def run(main: Callable[[Settings], None]) -> None:
    """Run a step's ``main``. A `RecsysError`, or what the system refuses, ends the process with one sentence.

    The sentence goes to stderr; the exit code is the error's own, and 1 where the system refused.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)  # a line for every request
    try:
        main(load_settings())
    except RecsysError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 (the sentence that a person is told)
        sys.exit(error.exit_code)
    except OSError as error:
        logging.getLogger(__name__).debug("where the system refused", exc_info=True)
        sys.exit(system_problem(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
