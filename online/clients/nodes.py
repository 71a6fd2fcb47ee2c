"""HTTP to whichever of several nodes answers: each in its turn, and past one that does not, to the next."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from online.clients.curl import Answer, Http
from online.clients.deadline import current

DOWN_S: Final = 2.0  # for which one that did not answer is asked only where no other does


def http_to(
    urls: Sequence[str],
    headers: Sequence[str] = (),
    *,
    timeout_s: float,
    login: tuple[str, str] | None = None,
    ca_certs: Path | None = None,
) -> Http | Nodes:
    """A client of whoever answers at these addresses; what else it is told goes to each `Http`."""
    nodes = [Http(url, headers, timeout_s=timeout_s, login=login, ca_certs=ca_certs) for url in urls]
    return Nodes(nodes) if len(nodes) > 1 else nodes[0]


class Nodes:
    """Like `Http`, of several. What is asked may be asked twice, so it only reads. Shared by threads."""

    def __init__(self, nodes: Sequence[Http]) -> None:
        self._nodes = list(nodes)
        self._turn = itertools.count()
        self._down_until = [0.0] * len(self._nodes)

    def get(self, path: str) -> Answer:
        """Raises as `Http.get`, what the last one raised that was asked."""
        return self._first(lambda node: node.get(path))

    def post(self, path: str, body: bytes, headers: Sequence[str] = ()) -> Answer:
        """Raises as `Http.post`, what the last one raised that was asked."""
        return self._first(lambda node: node.post(path, body, headers))

    def _first(self, ask: Callable[[Http], Answer]) -> Answer:
        """The first answer. A node that took the whole time is not asked next; there is none left for another."""
        *others, last = self._in_turn()
        for place in others:
            try:
                return self._ask(place, ask)
            except ConnectionError:
                if (deadline := current()) is not None and not deadline.left():
                    raise
        return self._ask(last, ask)

    def _in_turn(self) -> list[int]:
        """Round robin, and those that did not answer lately last."""
        first, now = next(self._turn), time.monotonic()
        places = [(first + n) % len(self._nodes) for n in range(len(self._nodes))]
        return sorted(places, key=lambda place: self._down_until[place] > now)

    def _ask(self, place: int, ask: Callable[[Http], Answer]) -> Answer:
        try:
            answer = ask(self._nodes[place])
        except (ConnectionError, TimeoutError):
            self._down_until[place] = time.monotonic() + DOWN_S
            raise
        self._down_until[place] = 0.0
        return answer

    def close(self) -> None:
        """Close the connections that no thread is using."""
        for node in self._nodes:
            node.close()
