"""A request on its way in: what has arrived of it, whether that is all, and whether it may be refused already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gunicorn.workers.gthread import TConn

from online.web.in_hand import WATCHES
from online.web.limits import MAX_BODY, MAX_EVENTS_BODY, MAX_HEAD, WITH_EVENTS, body_too_large

_HEAD_ENDS: Final = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*0*(\d+)[ \t]*\r\n", re.IGNORECASE)
_DIGITS: Final = 9  # of a length that are read: where there are more, it is too large anyway
_CHUNKED = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection[ \t]*:(?:[^\r\n]*,)?[ \t]*close[ \t]*(?:,[^\r\n]*)?\r\n", re.IGNORECASE)
_STAYS: Final = b" HTTP/1.1"  # at the end of the first line, unless it says otherwise
_NO_BODY: Final = b"HEAD "  # its client takes the body of an answer for the next answer
_HURRIES: Final = b"POST /ml/rec "
_STRICT = re.compile(rb'"strict"\s*:\s*true')
_BUDGET = re.compile(rb'"budget_ms"\s*:\s*(\d{1,5})')
_EXPECTS = re.compile(rb"\r\nexpect[ \t]*:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)

Refusal = tuple[int, str, str]  # status, code, message
TOO_LONG: Final = (431, "headers_too_large", f"The request's line and headers are larger than {MAX_HEAD} bytes.")
TOO_LATE: Final = (408, "request_timeout", "The request did not arrive in time.")
OVERLOADED: Final = (503, "overloaded", "This server has more to answer than it can in time: ask again in a second.")
TOO_LARGE: Final[Mapping[int, Refusal]] = {
    most: (400, "bad_request", body_too_large(most)) for most in (MAX_BODY, MAX_EVENTS_BODY)
}
NO_LENGTH: Final = (411, "length_required", "The body's length is not said: send Content-Length.")


class Connection(TConn):  # type: ignore[misc]
    """A client, and what has arrived of its request."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.received = bytearray()
        self.told_to_go_on = False
        self.complete_since = 0.0  # seconds of `time.perf_counter`
        self.patient = False  # `is_patient` of the request that is in hand
        self.budget_s = 0.0  # `own_budget_s` of it

    def init(self) -> None:
        """Give the parser what has arrived. Called within the thread that answers."""
        super().init()
        if self.received:
            self.parser.unreader.unread(bytes(self.received))
            self.received.clear()
            self.told_to_go_on = False

    def _head(self) -> tuple[int, int]:
        """Where the head ends, as far as it has arrived (-1: not yet), and how long the body is said to be."""
        ends = self.received.find(_HEAD_ENDS)
        length = _LENGTH.search(self.received, 0, ends + 2) if ends >= 0 else None
        return ends, int(length[1][:_DIGITS]) if length else 0

    def room(self) -> int:
        """How many more bytes the largest request could have."""
        return MAX_HEAD + len(_HEAD_ENDS) + self._most() - len(self.received)

    def problem(self) -> Refusal | None:
        """Why the rest need not be waited for."""
        ends, length = self._head()
        if (ends if ends >= 0 else len(self.received)) > MAX_HEAD:
            return TOO_LONG
        if ends >= 0 and _CHUNKED.search(self.received, 0, ends + 2):
            return NO_LENGTH
        most = self._most()
        return TOO_LARGE[most] if length > most else None

    def _most(self) -> int:
        """Bytes of the body that are read."""
        return MAX_EVENTS_BODY if self.received.startswith(WITH_EVENTS) else MAX_BODY

    def missing(self) -> bool:
        """Whether there is more to wait for. What cannot be understood is complete: the parser will say so."""
        ends, length = self._head()
        return ends < 0 or len(self.received) < ends + len(_HEAD_ENDS) + length

    def watches(self) -> bool:
        """Whether it is asked how the server is."""
        return self.received.startswith(WATCHES)

    def is_patient(self) -> bool:
        """Whether it has no budget: it asks strictly, or for something else than recommendations."""
        return not self.received.startswith(_HURRIES) or bool(_STRICT.search(self.received))

    def own_budget_s(self) -> float:
        """The time that the request asks for; 0: it asks for none."""
        budget_ms = _BUDGET.search(self.received)
        return int(budget_ms[1]) / 1e3 if budget_ms else 0.0

    def drop_request(self) -> bool:
        """Forget a complete request. Whether the client can send another one, and has not yet."""
        ends, length = self._head()
        read_whole = not self.received.startswith(_NO_BODY)
        stays = read_whole and self.received.find(b"\r\n") == self.received.find(_STAYS) + len(_STAYS)
        closes = _CLOSES.search(self.received, 0, ends + 2)
        del self.received[: ends + len(_HEAD_ENDS) + length]
        self.told_to_go_on = False
        return stays and not closes and not self.received

    def waits_to_be_asked(self) -> bool:
        """Whether the client sends its body only when it is told to go on, and has not been told."""
        ends, _ = self._head()
        return not self.told_to_go_on and ends >= 0 and bool(_EXPECTS.search(self.received, 0, ends + 2))
