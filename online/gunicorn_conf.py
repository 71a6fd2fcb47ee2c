"""gunicorn's configuration for ``online.main.s1_server:create_app()``; addresses and sizes come from the settings."""

import gc

from data_exchange_center.settings import load_settings

_server = load_settings().server

bind = f"{_server.host}:{_server.port}"
worker_class = "gthread"
workers = _server.workers
threads = _server.threads
# Each worker makes its own clients: gRPC's channels and the pools' sockets do not survive a fork.
preload_app = False
timeout = 30
graceful_timeout = 10
keepalive = 75
backlog = 512
max_requests = 0
accesslog = None  # the application writes a line of its own for each request
errorlog = "-"
loglevel = "info"


def post_worker_init(_: object) -> None:
    """Spare the garbage collector what stays, and let a request's thousands of short-lived objects pass it by.

    An answer of Elasticsearch has three objects a hit: with the interpreter's own thresholds a request meets the
    collector several times, which costs a good part of the server's processor time and frees nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
