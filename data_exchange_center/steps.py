"""How a numbered step starts: logging on, settings read, a user's mistake told in one sentence."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.settings import Settings, load_settings


class StepError(Exception):
    """A step cannot go on. The message says what is wrong, where, and what to do."""


def system_problem(error: OSError) -> str:
    """One sentence for what the system refused: a folder that cannot be made, a full disk.

    Raises the error itself when it is not the system's.
    """
    if error.errno is None:
        raise error
    where = f" ({error.filename})" if error.filename is not None else ""
    return (
        f"the system says: {error.strerror}{where}. Check the path, its permissions and the disk; "
        "make room, or choose another folder with RECSYS_EXCHANGE_DIR, and run this again."
    )


def run(main: Callable[[Settings], None]) -> None:
    """Run a step's ``main``. StepError, ArtifactError and what the system refuses end the process with one sentence."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)  # a line for every request
    try:
        main(load_settings())
    except (StepError, ArtifactError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except OSError as error:
        logging.getLogger(__name__).debug("where the system refused", exc_info=True)
        sys.exit(system_problem(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
