"""gunicorn's configuration for ``online.main.s1_server:create_asgi()``; addresses and sizes come from the settings."""

import gc
import os
import shutil
import sys
from typing import Any

from gunicorn.workers import gasgi

from data_exchange_center.plugins import RECIPES, find
from data_exchange_center.settings import load_settings

_settings = load_settings()
_server = _settings.server
_workers = _settings.workers_dir("workers")  # a file for each worker that answers, named by its pid

# The workers write their metrics there: prometheus_client reads the variable when it is imported, in a worker.
_metrics = _settings.workers_dir("metrics")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_metrics)
# One thread per matrix product: the workers are the parallelism; OpenBLAS's own threads busy-wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

bind = f"{_server.host}:{_server.port}"
worker_class = "asgi"
asgi_lifespan = "off"
workers = _server.workers
# Each worker makes its own clients: the pools' sockets do not survive a fork.
preload_app = False
timeout = 30
graceful_timeout = 10
keepalive = 75
backlog = 512
limit_request_line = 4094  # bytes
limit_request_fields = 64
limit_request_field_size = 8190  # bytes
accesslog = None  # the application writes a line of its own for each request
errorlog = "-"
loglevel = "info"


def on_starting(_: object) -> None:
    """Start from zero: metrics and marks that a killed server left are removed."""
    for folder in (_metrics, _workers):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    # Unload our modules, and those of recipe plugins, from the process that forks: a worker that is added later then
    # imports the code as it is by then.
    ours = {"online", "data_exchange_center", *(each.module.partition(".")[0] for each in find(RECIPES).values())}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]


def child_exit(_: object, worker: Any) -> None:
    """Remove an ended worker's live gauges and its mark; its counters stay."""
    from prometheus_client.multiprocess import mark_process_dead  # here, after the variable is set

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
    (_workers / str(worker.pid)).unlink(missing_ok=True)


def post_worker_init(worker: Any) -> None:
    """Watch the connections of a worker whose application is loaded, tune its garbage collector, and mark it.

    What is loaded is exempt from collection (frozen), and the thresholds are raised: a request makes thousands of
    short-lived objects (three per Elasticsearch hit), and by default would run the collector several times.
    """
    from online.web.connections import Connection  # here, where the worker imports the code as it is now

    # The worker has no setting for its protocol. With gunicorn's own, 1,024 silent clients, which use up the files that
    # a process may open by default, shut out everybody else.
    gasgi.ASGIProtocol = Connection
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    (_workers / str(worker.pid)).touch()
