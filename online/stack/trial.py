"""Whether the server's code starts as it is now, tried in a process of its own that takes no requests.

Reads   gunicorn's arguments, as the server is started with
Run     python -m online.stack.trial -c online/gunicorn_conf.py 'online.main.s1_server:create_app()'
Expect  exit code 0; otherwise the error on stderr, and another code
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

from gunicorn.app.wsgiapp import WSGIApplication

_COUNTED_IN: Final = "PROMETHEUS_MULTIPROC_DIR"


def main() -> int:
    """The exit code."""
    server = WSGIApplication()
    os.environ.pop(_COUNTED_IN, None)  # this process is none of the server's workers
    try:
        _ = server.cfg.worker_class  # imports it
        server.load()
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # without waiting for the application's threads
