"""Refuse requests: for another host's name, from another machine, writes of other web sites, strict ones without a key.

A web page that is open on this machine may send requests to a server on 127.0.0.1, under a name that its owner points
there (DNS rebinding): its browser then takes the answer for the page's own. The name gives it away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, current_app, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import ServerSettings, Settings
from online.web import records

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OURS: Final = ["localhost", "127.0.0.1"]  # werkzeug matches no IPv6 address


def register_guard(app: Flask, server: ServerSettings) -> None:
    """Refuse other hosts' requests (400, by Flask), and other machines' where the settings open the server to none."""
    if allowed := [host.strip() for host in server.allowed_hosts.split(",") if host.strip()]:
        app.config["TRUSTED_HOSTS"] = allowed
    elif is_loopback(server.host) and not server.proxies:
        app.config["TRUSTED_HOSTS"] = [*_OURS, server.host]

    @app.before_request
    def only_this_machine() -> None:
        """Flask's own server listens where its command line says, whatever the settings say."""
        closed = is_loopback(server.host) and not server.proxies
        if closed and request.remote_addr and not is_loopback(request.remote_addr):
            raise Forbidden("This server answers its own machine alone; RECSYS_SERVER__HOST=0.0.0.0 opens it.")


def guard_writes(app: Flask) -> None:
    """Refuse writes without a key where they always need one, and those that another web site sends.

    Register it after the extras: `extras.keys` notes a request's key first, and may require keys everywhere.
    """

    @app.before_request
    def check() -> None:
        if "key" in records.current().facts or not writes():
            return
        if not getattr(view(), "open_at_first", False):
            raise needs_a_key()
        if _is_of_another_site():
            raise Forbidden("Another web site may not write here without a key.")


def needs_a_key() -> Unauthorized:
    """The answer to a request without a good key where one is needed."""
    message = "This needs a key that is known here: send the header Authorization: Bearer <key>."
    return Unauthorized(message, www_authenticate=WWWAuthenticate("bearer"))


class UnguardedError(RecsysError):
    """The settings require keys or rates, and the extra that checks them is left out."""


def expect_keys_are_checked(settings: Settings, extras: Collection[str]) -> None:
    """Raise UnguardedError where the settings want what `extras.keys` does, and it is not among ``extras``."""
    server = settings.server
    wanted = server.keys_for == "all" or server.rate or settings.keys_file.exists()
    if wanted and "keys" not in extras:
        raise UnguardedError(
            "RECSYS_SERVER__KEYS_FOR=all, RECSYS_SERVER__RATE or the file of keys "
            f"({settings.keys_file}) needs the extra keys, and it is not among those that the server takes: name it "
            "in RECSYS_SERVER__EXTRAS, or take the settings and the file away."
        )


def writes() -> bool:
    """Whether the request changes something: no read by its method, and its view is not marked `only_reads`."""
    if request.method in _READS:
        return False
    found = view()
    return found is not None and not getattr(found, "only_reads", False)


def view() -> Callable[..., Any] | None:
    """The view that answers the request."""
    return current_app.view_functions.get(request.endpoint or "")


def _is_of_another_site() -> bool:
    """Whether the browser's headers say that a page of another site sends the request."""
    if (site := request.headers.get("Sec-Fetch-Site")) is not None:
        return site == "cross-site"
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def expect_may_be_strict(server: ServerSettings, facts: Mapping[str, Any]) -> None:
    """Raise Forbidden for a strict request to an open server, from a client without a key: it has no budget.

    ``facts``: of the request's record; "key" is among them where it came with one that is known.
    """
    if server.strict_for == "keys" and not is_loopback(server.host) and "key" not in facts:
        raise Forbidden("A strict request needs a key here, or RECSYS_SERVER__STRICT_FOR=all.")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
