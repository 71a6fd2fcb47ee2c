"""HAProxy before several servers, feature servers or Tritons: its configuration, from the addresses.

Who does not answer its health check is asked no more; what could not be sent to one is sent to another. What may be
asked twice, as it only reads, is also asked again where one ended before it answered: a recommendation, features,
scores; never an event. Where nobody answers the check all are asked: they may only be too busy to say how they are.

Run     python -m past_one_machine.clusters.balancer server --port 8080 127.0.0.1:5001 127.0.0.1:5002 > haproxy.cfg
        haproxy -W -f haproxy.cfg
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from online.stack.service import LOOPBACK, StackError, run

# Only a request that has arrived as a whole can be sent again: http-buffer-request waits for it.
_GLOBAL: Final = """\
global
    maxconn 4096
    log stdout format raw local0 warning

defaults
    log global
    mode http
    timeout connect 250ms
    timeout client 90s
    timeout http-request 10s
    timeout server 30s
    timeout http-keep-alive 75s
    timeout check 2s
    option forwardfor
    option http-buffer-request
    option redispatch 1
    option dontlog-normal
    retries 3
    retry-on conn-failure empty-response response-timeout
    default-server inter 500ms fastinter 100ms rise 2 fall 2 observe layer4 error-limit 3 on-error mark-down
"""


@dataclass(frozen=True)
class Kind:
    """What stands behind a balancer."""

    health: str  # what is asked, with GET
    again: str  # HAProxy's condition for what may be asked twice


KINDS: Final = {
    "server": Kind("/readyz", "{ method GET } || { path /ml/rec }"),
    "feast": Kind("/health", "{ method GET } || { path /get-online-features }"),
    "triton": Kind("/v2/health/live", "{ method GET } || { path_end /infer }"),
}


@dataclass(frozen=True)
class Front:
    """One port, and those among whom what comes there is dealt."""

    kind: str
    port: int
    behind: tuple[str, ...]  # host:port
    host: str = LOOPBACK


def render(fronts: Sequence[Front]) -> str:
    """HAProxy's configuration. Raises StackError for a kind or an address that there is not."""
    return "\n".join((_GLOBAL, *map(_section, fronts)))


def _section(front: Front) -> str:
    kind = KINDS.get(front.kind)
    if kind is None:
        raise StackError(f"no kind is called {front.kind!r}; there are: {', '.join(KINDS)}")
    if not front.behind:
        raise StackError(f"nobody stands behind port {front.port}: name at least one host:port")
    for address in front.behind:
        if not re.fullmatch(r"[\w.-]+:\d{1,5}", address):
            raise StackError(f"{address!r} is no address: say for example 127.0.0.1:5001")
    return f"""\
frontend {front.kind}
    bind {front.host}:{front.port}
    use_backend {front.kind}-unchecked if {{ nbsrv({front.kind}) eq 0 }}
    default_backend {front.kind}

backend {front.kind}
    option httpchk GET {kind.health}
    http-check expect status 200
{_dealt(front, kind, " check")}
backend {front.kind}-unchecked
{_dealt(front, kind, "")}"""


def _dealt(front: Front, kind: Kind, checked: str) -> str:
    """To whom, and what of it may be asked twice."""
    servers = "".join(
        f"    server {front.kind}-{turn} {address}{checked}\n" for turn, address in enumerate(front.behind, 1)
    )
    return f"""\
    balance leastconn
    http-request disable-l7-retry unless {kind.again}
{servers}"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m past_one_machine.clusters.balancer", description=__doc__)
    parser.add_argument("kind", help=", ".join(KINDS))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("behind", nargs="+", help="host:port")
    told = parser.parse_args()
    front = Front(told.kind, told.port, tuple(told.behind), told.host)
    run(lambda: print(render([front]), end=""), interrupted="interrupted")  # noqa: T201


if __name__ == "__main__":
    main()
