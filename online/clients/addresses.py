"""Looking a service's name up, for no longer than a call may take.

The system's own look-up knows no deadline: with a name server that is silent it takes ten seconds and more. So it is
done in a thread, one look-up a name at a time, and whoever needs the name waits as long as they may.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

_lock = threading.Lock()
_looking_up: dict[str, Future[list[str]]] = {}


def addresses_of(host: str, within_s: float | None) -> list[str]:
    """The IP addresses of a host, in the order in which they are to be tried; an address is its own.

    Raises OSError for a name that is not known, and TimeoutError, which is one, after ``within_s`` seconds.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [host]
    try:
        return _look_up(host).result(within_s)
    except FutureTimeoutError as error:
        raise TimeoutError(f"{host} was not looked up in time") from error


def _look_up(host: str) -> Future[list[str]]:
    """The look-up that is going on, or else a new one."""
    with _lock:
        if (going_on := _looking_up.get(host)) is not None:
            return going_on
        found: Future[list[str]] = Future()
        threading.Thread(target=_answer, args=(host, found), name="look-up", daemon=True).start()
        _looking_up[host] = found
        return found


def _answer(host: str, found: Future[list[str]]) -> None:
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
    except Exception as error:
        _forget(host)
        found.set_exception(error)
    else:
        _forget(host)
        found.set_result(addresses)


def _forget(host: str) -> None:
    with _lock:
        del _looking_up[host]
