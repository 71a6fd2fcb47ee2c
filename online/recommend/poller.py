"""Polling: methods that look, again and again, for what other processes have changed."""

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Final

from online.clients.base import ServiceError

log = logging.getLogger(__name__)

POLL_S: Final = 0.5  # seconds between two looks
POLL_AGAIN_S: Final = 1.0  # after a failure


class Poller:
    """Calls methods every `POLL_S` seconds, each on a thread of its own: a slow one keeps none of the others waiting.

    A thread ends with the method's object, or with the server.

    Attributes:
        closed: set when the server ends.
    """

    def __init__(self) -> None:
        self.closed = threading.Event()
        atexit.register(self.closed.set)

    def follow(self, look: Callable[[], bool]) -> None:
        """Call a method from now on. ``look``: False, or an exception, means failure."""
        arguments = weakref.WeakMethod(look), look.__qualname__
        threading.Thread(
            target=self._run, args=arguments, name=look.__qualname__, daemon=True
        ).start()

    def _run(self, weak: "weakref.WeakMethod[Callable[[], bool]]", name: str) -> None:
        while not self.closed.is_set() and (look := weak()) is not None:
            succeeded = False
            try:
                succeeded = look()
            except ServiceError:
                pass  # it is logged
            except Exception:
                log.exception("%s has failed, and is called again", name)
            del look
            self.closed.wait(POLL_S if succeeded else POLL_AGAIN_S)

    def close(self) -> None:
        self.closed.set()
        atexit.unregister(self.closed.set)
