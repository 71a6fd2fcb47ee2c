"""How a numbered step starts: logging on, settings read, a user's mistake told in one sentence."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.settings import Settings, load_settings


class StepError(Exception):
    """A step cannot go on. The message says what is wrong, where, and what to do."""


def run(main: Callable[[Settings], None]) -> None:
    """Run a step's ``main``. StepError and ArtifactError end the process with their message and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)  # a line for every request
    try:
        main(load_settings())
    except (StepError, ArtifactError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
