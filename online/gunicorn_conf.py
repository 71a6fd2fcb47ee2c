"""gunicorn's configuration for ``online.main.s1_server:create_app()``; addresses and sizes come from the settings."""

import gc
import os
import shutil
import sys
from typing import Any

from data_exchange_center.settings import load_settings
from online.web.worker_marks import WorkerMarks

_settings = load_settings()
_server = _settings.server
_marks = WorkerMarks(_settings.started_workers_dir)

# Where the workers write their metrics: prometheus_client reads the variable when it is imported, in a worker.
_metrics = _settings.metrics_dir
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_metrics)

bind = f"{_server.host}:{_server.port}"
worker_class = "online.web.worker.PatientWorker"
workers = _server.workers
threads = _server.threads
# Each worker makes its own clients: the pools' sockets do not survive a fork.
preload_app = False
timeout = 30
graceful_timeout = 10
keepalive = 75
backlog = 512
max_requests = 0
accesslog = None  # the application writes a line of its own for each request
errorlog = "-"
loglevel = "info"


def on_starting(server: Any) -> None:
    """Counting begins anew with the server; what a killed one left is cleared away."""
    shutil.rmtree(_metrics, ignore_errors=True)
    _metrics.mkdir(parents=True)
    _marks.clear()
    stop = server.stop  # gunicorn has no hook before its workers are told to stop

    def mark_and_stop(graceful: bool = True) -> None:
        _marks.stop()
        stop(graceful)

    server.stop = mark_and_stop


def on_reload(server: Any) -> None:
    """Other workers are about to take over, with the code as it is now: those that have no mark any more know it."""
    _marks.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("online", "data_exchange_center")]:
        del sys.modules[name]
    server.worker_class = server.cfg.worker_class  # imported anew


def child_exit(_: object, worker: Any) -> None:
    """A worker that has ended is no longer part of what is in flight or in memory; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead  # here, after the variable is set

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
    _marks.remove(worker.pid)


def post_worker_init(worker: Any) -> None:
    """The application is there; requests are accepted from now on."""
    _spare_the_collector()
    _marks.add(worker.pid)


def _spare_the_collector() -> None:
    """Spare the garbage collector what stays, and let a request's thousands of short-lived objects pass it by.

    An answer of Elasticsearch has three objects a hit: with the interpreter's own thresholds a request meets the
    collector several times, which costs a good part of the server's processor time and frees nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
