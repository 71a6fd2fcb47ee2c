"""gunicorn's configuration for ``online.main.s1_server:create_asgi()``; addresses and sizes come from the settings.

The process that forks the workers imports none of our modules, so a worker that is added later has the code as it is by
then, and under the stack of this machine the settings, too: see `stack.server`.
"""

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from gunicorn.workers import gasgi

_READ = """
import json
from data_exchange_center.settings import load_settings
settings = load_settings()
folders = [str(settings.workers_dir(kind)) for kind in ("workers", "metrics")]
print(json.dumps([settings.server.host, settings.server.port, settings.server.workers, *folders]))
"""
_read = subprocess.run(
    [sys.executable, "-c", _READ], stdout=subprocess.PIPE, text=True, check=False
)
if _read.returncode:
    sys.exit(_read.returncode)  # it has said why
_host, _port, workers, *_folders = json.loads(_read.stdout)
# _workers: a file for each worker that answers, named by its pid
_workers, _metrics = map(Path, _folders)

# The workers write their metrics there: prometheus_client reads the variable when it is imported, in a worker.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_metrics)
# One thread per matrix product: the workers are the parallelism; OpenBLAS's own threads busy-wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

bind = f"{_host}:{_port}"
worker_class = "asgi"
asgi_lifespan = "off"
# it would lie in the home folder, shared by all servers of an account
control_socket_disable = True
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


def post_fork(_: object, __: object) -> None:
    """Take over the settings that the stack of this machine has described last."""
    if (folder := os.environ.get("RECSYS_STACK")) is None:
        return
    described = json.loads((Path(folder) / "server.json").read_bytes())["environment"]
    for name in [name for name in os.environ if name.startswith("RECSYS_")]:
        del os.environ[name]
    os.environ.update(described)


def child_exit(_: object, worker: Any) -> None:
    """Remove an ended worker's live gauges and its mark; its counters stay."""
    from prometheus_client.multiprocess import (
        mark_process_dead,
    )  # here, after the variable is set

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
    (_workers / str(worker.pid)).unlink(missing_ok=True)


def post_worker_init(worker: Any) -> None:
    """Watch the connections of a worker whose application is loaded, tune its garbage collector, and mark it.

    What is loaded is exempt from collection (frozen), and the thresholds are raised: a request makes thousands of
    short-lived objects (three per Elasticsearch hit), and by default would run the collector several times.
    """
    from online.web.connections import (
        Connection,
    )  # here, where the worker imports the code as it is now

    # The worker has no setting for its protocol. With gunicorn's own, 1,024 silent clients, which use up the files that
    # a process may open by default, shut out everybody else.
    gasgi.ASGIProtocol = Connection
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    (_workers / str(worker.pid)).touch()
