"""Run a command: arguments, logging, settings, progress, and an error in one sentence."""

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from tqdm import tqdm

from data_exchange_center import errors, settings

LINE_EVERY_S = 10.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit} ({percentage:.0f}%), {elapsed} gone, {remaining} to go{postfix}"


def progress(
    iterable: Iterable[Any] | None = None,
    desc: str = "",
    *,
    stream: TextIO | None = None,
    **options: Any,
) -> "tqdm[Any]":
    """A tqdm over ``iterable``, or to be updated by hand. ``options``: tqdm's.

    Where ``stream`` (default: standard error) is no terminal, it is a line every ten seconds; shorter work prints none.
    """
    stream = stream or sys.stderr
    if stream.isatty():
        return tqdm(iterable, desc, file=stream, **options)
    options |= {
        "mininterval": LINE_EVERY_S,
        "delay": LINE_EVERY_S,
        "miniters": 1,
        "bar_format": _LINE,
    }
    return tqdm(iterable, desc, file=_Lines(stream), **options)


class _Lines(io.TextIOBase):
    """A stream that writes each state of a tqdm bar as a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if line := text.strip():
            self._stream.write(f"{line}\n")
            self._stream.flush()
        return len(text)


class StepError(errors.RecsysError):
    """A step cannot go on. The message says what is wrong, where, and what to do."""


class CheckError(StepError):
    """Two things that must be equal are not. The message names the row and both values."""


def system_problem(error: OSError) -> str:
    """Describe an error of the operating system in one sentence. Raises ``error`` itself when it has no errno."""
    if error.errno is None:
        raise error
    where = f" ({error.filename})" if error.filename is not None else ""
    return (
        f"the system says: {error.strerror}{where}. Check the path, its permissions and the disk; "
        "free space, or choose another folder with RECSYS_EXCHANGE_DIR, and run this again."
    )


def _lost_output() -> str | int | None:
    """Exit code or sentence where standard output cannot be written: closed pipe, full disk; None where it can."""
    try:
        if not sys.stdout.isatty():
            print(flush=True)  # noqa: T201 (to find out)
    except OSError as error:
        # else Python flushes once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        broken = isinstance(error, BrokenPipeError)
        return (
            128 + signal.SIGPIPE
            if broken
            else f"the output cannot be written: {error.strerror}."
        )
    return None


def run(main: Callable[[settings.Settings], None], *, about: str | None = None) -> None:
    """Run a step's ``main``. A `RecsysError` or an OSError ends the process with one sentence.

    The sentence goes to stderr; the exit code is the RecsysError's own, 1 for an OSError, 141 for a closed pipe.
    ``about``: text of ``--help`` for a command without arguments; None: ``main`` or its caller parses them.
    """
    if about:
        argparse.ArgumentParser(
            description=about, formatter_class=argparse.RawDescriptionHelpFormatter
        ).parse_args()
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    # a line for every request
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)
    # failures, which the step's error reports
    logging.getLogger("online.clients").setLevel(logging.CRITICAL)
    found = settings.load_settings()
    # PyTorch's own choice is a folder of /tmp with the user's name, which another account may have made first
    os.environ.setdefault(
        "TORCHINDUCTOR_CACHE_DIR", str(found.offline_dir / "torchinductor")
    )
    try:
        main(found)
        sys.stdout.flush()
    except errors.RecsysError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 (the message for the user)
        sys.exit(error.exit_code)
    except OSError as error:
        logging.getLogger(__name__).debug("where the system refused", exc_info=True)
        sys.exit(_lost_output() or system_problem(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
