"""Ask the server for a user's recommendations and show them as a table.

Reads   the server of s1_server.py, over HTTP
Writes  nothing
Run     python s2_client.py [--userid 1] [--size 50] [--timestamp 978300760] [--explain] [--url http://127.0.0.1:5000]
Expect  fifty titles, best first, with genres and scores; below them the release and the milliseconds of each stage
"""

from __future__ import annotations

import argparse

from rich.console import Console

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from online.web.client import ask, render


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(description="Ask the server for a user's recommendations.")
    parser.add_argument("--userid", type=int, default=1)
    parser.add_argument("--size", type=int, default=50, help="how many items, 1 to 200")
    parser.add_argument("--timestamp", type=int, help="as if asked then, in seconds since 1970; default: now")
    parser.add_argument("--explain", action="store_true", help="show each item's place in what recall found")
    parser.add_argument("--url", default=settings.server.url, help="default: %(default)s")
    arguments = parser.parse_args()
    answer = ask(
        arguments.url, arguments.userid, arguments.size, timestamp=arguments.timestamp, explain=arguments.explain
    )
    Console().print(render(answer))


if __name__ == "__main__":
    steps.run(main)
