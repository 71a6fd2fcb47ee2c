"""Make the server's application, and end: a trial of the code and of all settings that a worker reads.

The stack runs it with the variables that the server will have, before it touches a server that runs. The last line of
its output says what is wrong.

Run     python -m stack.trial
"""

import os

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from online.main.s1_server import create_app


def main(_: Settings) -> None:
    create_app()
    os._exit(0)  # without waiting for the application's threads


if __name__ == "__main__":
    run(main)
