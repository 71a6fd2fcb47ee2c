"""Requests that are not for this server: another host's name, another machine, strict ones without a key.

A web page that is open on this machine may send requests to a server on 127.0.0.1, under a name that its owner points
there (DNS rebinding): its browser then takes the answer for the page's own. The name gives it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

from flask import Flask, request
from werkzeug.exceptions import Forbidden

from data_exchange_center.settings import ServerSettings

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
