"""gunicorn's configuration for ``online.main.s1_server:create_app()``; every number comes from the settings."""

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
