"""Which releases are open, and which of them serves: every change of state, under one lock."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from online.clients.base import ServiceError
from online.recommend.open_release import NoReleaseError, OpenRelease

log = logging.getLogger(__name__)

KEPT = 2  # releases that stay open, the serving one among them, so that going back takes no time
REOPEN_S = 5.0  # after an opening that failed, while another release serves


@dataclass(frozen=True, eq=False)
class _Failure:
    """An opening that failed, and until when (monotonic seconds) it is not tried again."""

    release: str
    until: float
    error: Exception


class OpenReleases:
    """The releases of a process. Shared by threads; a release is opened once, however many requests need it.

    A release is in one of four states::

        closed  -> opening   somebody asked for it (`open`)
        opening -> open      all of it was read
        opening -> failed    it could not be read; the next `open` after `REOPEN_S` tries again, or the next at once
                             while no release serves
        open    -> closed    it does not serve, and another one was opened after it that does not serve either

    At most one of the open ones serves (`serve`); requests are answered from it.
    """

    def __init__(self, read: Callable[[str], OpenRelease], background: Executor) -> None:
        """``read`` reads a release from the services, on ``background``."""
        self._read = read
        self._background = background
        self._lock = threading.Lock()
        self._open: dict[str, OpenRelease] = {}  # oldest first
        self._opening: dict[str, Future[OpenRelease]] = {}
        self._failure: _Failure | None = None  # the last opening, when it failed
        self._serving: str | None = None  # a key of `_open`

    @property
    def serving(self) -> OpenRelease | None:
        """The release that requests are answered from; None until the first is open."""
        with self._lock:
            return self._open[self._serving] if self._serving is not None else None

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def __contains__(self, release: str) -> bool:
        return release in self._open

    def open(self, release: str) -> Future[OpenRelease]:
        """The release once it is open, or why it cannot be: ServiceError, NoReleaseError. Returns at once."""
        with self._lock:
            if release in self._open:
                return _done(self._open[release])
            if self._serving is not None and (error := self._recent_failure(release)) is not None:
                return _failed(error)
            if release not in self._opening:
                self._opening[release] = self._background.submit(self._open_release, release)
            return self._opening[release]

    def serve(self, opened: OpenRelease) -> OpenRelease:
        """Answer from this release from now on. Returns it as it is now: another thread may have renewed it."""
        with self._lock:
            current = self._open.setdefault(opened.release, opened)
            self._serving = opened.release
            return current

    def renew(self, release: str, model: str, version: int) -> OpenRelease | None:
        """Have an open release scored by another version of its model. None: it is not open any more."""
        with self._lock:
            if release not in self._open:
                return None
            fresh = self._open[release] = replace(self._open[release], model=model, model_version=version)
        log.info("release %s is scored by %s version %d now", release, model, version)
        return fresh

    def _recent_failure(self, release: str) -> Exception | None:
        failure = self._failure
        if failure is None or failure.release != release or time.monotonic() >= failure.until:
            return None
        return failure.error

    def _open_release(self, release: str) -> OpenRelease:
        try:
            opened = self._whole(release)
        except (ServiceError, NoReleaseError) as error:
            with self._lock:
                del self._opening[release]
                self._failure = _Failure(release, time.monotonic() + REOPEN_S, error)
            raise
        with self._lock:
            del self._opening[release]
            self._failure = None
            self._open[release] = opened
            beside = [each for each in self._open if each != self._serving]
            for old in beside[: len(beside) - (KEPT - 1)]:
                del self._open[old]
        log.info("release %s is open: %d items", release, len(opened.catalogue))
        return opened

    def _whole(self, release: str) -> OpenRelease:
        """Raises ServiceError, NoReleaseError; anything else is damage, which must not end the release before."""
        try:
            return self._read(release)
        except (ServiceError, NoReleaseError) as error:
            log.warning("release %s cannot be opened: %s", release, error)
            raise
        except Exception as error:
            log.exception("release %s cannot be opened", release)
            raise NoReleaseError(
                f"Release {release} is damaged ({type(error).__name__})", "Load it again: `make sync`."
            ) from error


def _done(opened: OpenRelease) -> Future[OpenRelease]:
    future: Future[OpenRelease] = Future()
    future.set_result(opened)
    return future


def _failed(error: Exception) -> Future[OpenRelease]:
    future: Future[OpenRelease] = Future()
    future.set_exception(error)
    return future
