"""``feast ...``: without PyTorch, and with a feature server that only reads and only answers to its own names.

``cli.py serve ...`` serves; ``cli.py '[["apply"], ...]'`` runs other commands in one process, as starting Feast takes
longer than they do.

Feast imports PyTorch wherever it is installed, which costs 4 s and 200 MB for nothing.

A web page that is open on the same machine can send requests to the feature server, and by DNS rebinding (a name of its
own that turns into 127.0.0.1) read the answers. So the server's writing endpoints are removed, since the steps write
through Feast's commands, and a request whose Host is not in FEAST_HOSTS is refused (default: 127.0.0.1 and localhost;
``*``: any is answered). Needs nothing but Feast.
"""

import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Callable

sys.modules["torch"] = None  # type: ignore[assignment]  # the documented way to make an import fail

from feast.cli.cli import cli  # noqa: E402

SERVED = {"/get-online-features", "/health", "/openapi.json", "/docs"}
HOSTS = os.environ.get("FEAST_HOSTS", "127.0.0.1,localhost").split(",")
# which feature_store.yaml reads
os.environ.setdefault("FEAST_REGISTRY", "data/registry.db")
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve_reads_only() -> None:
    """Have ``feast serve`` start Feast's own application without the other endpoints, for HOSTS."""
    from fastapi import FastAPI
    from feast import feature_server
    from feast.infra.registry import proto_registry_utils
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    whole = feature_server.get_app

    def reading_app(*arguments: object, **options: object) -> FastAPI:
        app: FastAPI = whole(*arguments, **options)  # type: ignore[arg-type]
        app.router.routes[:] = [
            route for route in app.router.routes if getattr(route, "path", "") in SERVED
        ]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
        # Exempt Feast's imports from garbage collection, and collect less often; gunicorn forks after this
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        return app

    async def at_once(
        call: Callable[..., object], *arguments: object, **options: object
    ) -> object:
        """Call what only computes, without a thread: Redis is awaited, not called through this."""
        return call(*arguments, **options)

    feature_server.get_app = reading_app
    feature_server.run_in_threadpool = at_once  # type: ignore[assignment, attr-defined]
    # Keep a feature service until the registry is read again, as Feast keeps its views
    kept = proto_registry_utils.registry_proto_cache_name
    proto_registry_utils.get_feature_service = kept(
        proto_registry_utils.get_feature_service
    )  # type: ignore[no-untyped-call]


def main(commands: str) -> None:
    """Run a JSON list of Feast's commands, each a list of its arguments."""
    for command in json.loads(commands):
        cli.main(command, prog_name="feast", standalone_mode=False)


if __name__ == "__main__":
    if "serve" in sys.argv:
        serve_reads_only()
        # A forked worker ends when the master does, or it would hold the port against the master's successor
        os.register_at_fork(
            after_in_child=lambda: ctypes.CDLL(None).prctl(
                PR_SET_PDEATHSIG, signal.SIGKILL
            )
        )
        cli()
    else:
        main(sys.argv[1])
