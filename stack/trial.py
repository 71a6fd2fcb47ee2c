"""Make the server's application, and end: a trial of the code and of all settings that a worker reads.

The stack runs it with the variables that the server will have, before it touches a server that runs. What a person can
put right is one sentence on standard output; any other failure is a stack trace on standard error.

Run     python -m stack.trial
"""

from __future__ import annotations

import os
import sys

from data_exchange_center.errors import RecsysError
from online.main.s1_server import create_app


def main() -> int:
    try:
        create_app()
    except (RecsysError, SystemExit) as error:
        print(error)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # without waiting for the application's threads
