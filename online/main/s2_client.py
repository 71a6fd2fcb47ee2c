"""Request a user's recommendations from the server and show them as a table.

Reads   the server of s1_server.py, over HTTP; where no user is named, users.parquet for the first one
Writes  nothing
Run     python s2_client.py [--userid 1] [--size 50] [--timestamp 978300760] [--explain] [--diversity 0.1]
        [--url http://127.0.0.1:5000]
Expect  fifty titles, best first, with the items' attributes and scores; below them the release and the milliseconds of
        each stage; where no user is named, the same request for curl
"""

from __future__ import annotations

import argparse
import re

from rich.console import Console

from data_exchange_center import steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.release_parts import read_user_ids
from data_exchange_center.settings import Settings
from online.web.client import as_curl, ask, render


def userid(text: str) -> OwnId:
    """As the server wants it: 7 is a number, u-8f3a is a string, and so is "7" in double quotes."""
    if re.fullmatch(r"\d+", text, re.ASCII):
        return int(text)
    quoted = re.fullmatch(r'"(.*)"', text, re.DOTALL)
    return quoted[1] if quoted else text


def first_user(settings: Settings) -> OwnId:
    """Own id of the first user of users.parquet. Raises ArtifactError when there is no such file."""
    return next(iter(read_user_ids(settings.exchange_dir).values()))


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(description="Request a user's recommendations from the server.")
    parser.add_argument("--userid", type=userid, help='the data set\'s own id, in double quotes where "7" is no number')
    parser.add_argument("--size", type=int, default=50, help="how many items, 1 to 200")
    parser.add_argument("--timestamp", type=int, help="as of then, in seconds since 1970; default: now")
    parser.add_argument(
        "--explain", action="store_true", help="show each item's place in what recall found, and why it is there"
    )
    parser.add_argument("--diversity", type=float, help="0, best first, to 1; default: the server's setting")
    parser.add_argument("--url", default=settings.server.url, help="default: %(default)s")
    parser.add_argument("--seen-at", metavar="URL", help="where you see the server, if not at --url")
    arguments = parser.parse_args()
    user = first_user(settings) if arguments.userid is None else arguments.userid
    key = settings.server.key.get_secret_value() if settings.server.key else None
    answer = ask(
        arguments.url,
        user,
        arguments.size,
        timestamp=arguments.timestamp,
        explain=arguments.explain,
        diversity=arguments.diversity,
        key=key,
    )
    Console().print(render(answer))
    if arguments.userid is None:
        print(f"Ask it yourself:  {as_curl(arguments.seen_at or arguments.url, user)}")


if __name__ == "__main__":
    steps.run(main)
