"""Generate HAProxy's configuration, a load balancer for several servers, feature servers or Tritons.

A server that fails its health check gets no requests; a request that could not be sent to one goes to another. A
request that only reads (a recommendation, features, scores; never an event) is also retried if a server died before it
answered. If no server passes the check, all get requests: they may only be too busy to answer it.

Run     python -m past_one_machine.balancer server --port 8080 127.0.0.1:5001 127.0.0.1:5002 > haproxy.cfg
        haproxy -W -f haproxy.cfg
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Final

from stack.service import LOOPBACK, StackError, run

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


# kind of server -> its health check, with GET, and HAProxy's condition for requests that may be sent twice
KINDS: Final = {
    "server": ("/readyz", "{ method GET } || { path /ml/rec }"),
    "feast": ("/health", "{ method GET } || { path /get-online-features }"),
    "triton": ("/v2/health/live", "{ method GET } || { path_end /infer }"),
}


def render(kind: str, port: int, behind: Sequence[str], host: str = LOOPBACK) -> str:
    """HAProxy's configuration: one port in front of servers (host:port) of a kind.

    Raises StackError for an unknown kind or an invalid address.
    """
    if kind not in KINDS:
        raise StackError(f"no kind is called {kind!r}; there are: {', '.join(KINDS)}")
    if not behind:
        raise StackError(f"no backend for port {port}: name at least one host:port")
    for address in behind:
        if not re.fullmatch(r"[\w.-]+:\d{1,5}", address):
            raise StackError(f"{address!r} is no address: say for example 127.0.0.1:5001")
    health, again = KINDS[kind]

    def servers(checked: str) -> str:
        lines = (f"    server {kind}-{turn} {address}{checked}\n" for turn, address in enumerate(behind, 1))
        return f"    balance leastconn\n    http-request disable-l7-retry unless {again}\n{''.join(lines)}"

    return f"""\
{_GLOBAL}
frontend {kind}
    bind {host}:{port}
    use_backend {kind}-unchecked if {{ nbsrv({kind}) eq 0 }}
    default_backend {kind}

backend {kind}
    option httpchk GET {health}
    http-check expect status 200
{servers(" check")}
backend {kind}-unchecked
{servers("")}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m past_one_machine.balancer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", help=", ".join(KINDS))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("behind", nargs="+", help="host:port")
    given = parser.parse_args()
    run(lambda: print(render(given.kind, given.port, given.behind, given.host), end=""), interrupted="interrupted")  # noqa: T201


if __name__ == "__main__":
    main()
