"""Request a user's recommendations from the server and show them as a table.

Reads   the server of s1_server.py, over HTTP; where no user is named, users.parquet for the first one
Writes  nothing
Run     python s2_client.py [--userid 1] [--size 50] [--timestamp 978300760] [--explain] [--diversity 0.1]
        [--url http://127.0.0.1:5000]
Expect  fifty titles, best first, with the items' attributes and scores; below them the release and the milliseconds of
        each stage; where no user is named, what is held out, and the same request for curl
"""

import argparse
import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import requests
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from data_exchange_center import dataset, http, release_parts, steps
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings

_TIMEOUT_S = 10
_ALWAYS = (
    "itemid",
    "score",
    "title",
)  # of an item; its other fields are the data set's attributes


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        description="Request a user's recommendations from the server."
    )
    parser.add_argument(
        "--userid",
        type=userid,
        help='the data set\'s own id, in double quotes where "7" is no number',
    )
    parser.add_argument("--size", type=int, default=50, help="how many items, 1 to 200")
    parser.add_argument(
        "--timestamp", type=int, help="as of then, in seconds since 1970; default: now"
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="show each item's place in what recall found, and why it is there",
    )
    parser.add_argument(
        "--diversity",
        type=float,
        help="0, best first, to 1; default: the server's setting",
    )
    parser.add_argument(
        "--url", default=settings.server.url, help="default: %(default)s"
    )
    parser.add_argument(
        "--seen-at", metavar="URL", help="where you see the server, if not at --url"
    )
    arguments = parser.parse_args()
    # the first user of users.parquet, where none is named
    user = arguments.userid
    if user is None:
        user = next(
            iter(release_parts.read_own_ids(settings.artifacts_dir).users.values())
        )
    body = {"userid": user, "size": arguments.size, "explain": arguments.explain}
    body |= {
        name: given
        for name in ("timestamp", "diversity")
        if (given := getattr(arguments, name)) is not None
    }
    answer = ask(
        arguments.url,
        body,
        settings.server.key.get_secret_value() if settings.server.key else None,
    )
    Console().print(render(answer))
    if arguments.userid is None:
        if most := release_parts.read_dataset(
            settings.artifacts_dir
        ).holdout_now.longest:
            print(
                f"The user's last events, up to {most}, are held out for the evaluation and unknown to the server, "
                "so their items may be in the list. make offline sync final=1 holds none out."
            )
        print(f"Ask it yourself:  {as_curl(arguments.seen_at or arguments.url, user)}")


def userid(text: str) -> dataset.OwnId:
    """Parse a user's id: 7 is a number, u-8f3a is a string, and so is "7" in double quotes."""
    if re.fullmatch(r"\d+", text, re.ASCII):
        return int(text)
    quoted = re.fullmatch(r'"(.*)"', text, re.DOTALL)
    return quoted[1] if quoted else text


def ask(url: str, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
    """Request recommendations from the server, with a key where one is needed. Raises RecsysError."""
    headers = {"Authorization": f"Bearer {key}"} if key else None
    try:
        with http.local_session() as session:
            response = session.post(
                f"{url.rstrip('/')}/ml/rec",
                json=body,
                headers=headers,
                timeout=_TIMEOUT_S,
            )
        answer: dict[str, Any] = response.json()
        if response.ok:
            return answer
        problem = f"The server at {url} answered {response.status_code}: {answer['error']['message']}"
    except (requests.JSONDecodeError, LookupError, TypeError) as error:
        raise RecsysError(
            f"What answers at {url} is not this server: no JSON as expected."
        ) from error
    except requests.Timeout as error:
        raise RecsysError(
            f"The server at {url} did not answer within {_TIMEOUT_S} s. See `make logs`."
        ) from error
    except requests.ConnectionError as error:
        raise RecsysError(
            f"No server answers at {url}. Start it with `make serve`, or name another address."
        ) from error
    except requests.RequestException as error:
        raise RecsysError(f"{url} is not a usable address ({error}).") from error
    raise RecsysError(problem)


def as_curl(url: str, userid: dataset.OwnId) -> str:
    """A command line that requests recommendations for a user."""
    return f"curl -d {shlex.quote(json.dumps({'userid': userid}, ensure_ascii=False))} {url.rstrip('/')}/ml/rec"


def render(answer: dict[str, Any]) -> Group:
    """Render an answer as a table; below it the reason if it is not personal, the release and the times.

    Also shows the items' other fields; with `explain`, each item's place in recall's lists, and why it is there.
    """
    attributes = dict.fromkeys(
        name for item in answer["item_list"] for name in item if name not in _ALWAYS
    )
    explained = {each["itemid"]: each for each in answer.get("explained", [])}
    lists = ["fused", *next(iter(explained.values()))["channels"]] if explained else []
    table = Table(title=Text(f"For user {answer['userid']}"), title_justify="left")
    table.add_column("#", justify="right", style="dim")
    table.add_column("title", overflow="fold")
    for name in attributes:
        table.add_column(Text(name), style="cyan", overflow="fold")
    table.add_column("score", justify="right")
    for name in lists:
        table.add_column(f"# {name}", justify="right", style="dim")
    for place, item in enumerate(answer["item_list"], start=1):
        # Text, not markup: a title may hold square brackets
        title, found = Text(_printable(item["title"])), explained.get(item["itemid"])
        if found:
            title.append("\n" + _printable(found["reason"]["sentence"]["en"]), "green")
        shown = (title, *(_value(item[name]) for name in attributes))
        places = {"fused": found["fused"], **found["channels"]} if found else {}
        table.add_row(
            str(place),
            *shown,
            f"{item['score']:.4f}",
            *(str(places.get(name, {}).get("rank") or "-") for name in lists),
        )
    stages = " | ".join(
        f"{stage} {ms:.1f} ms" for stage, ms in answer["took_ms"].items()
    )
    diversity = f" | diversity {answer['diversity']:g}" if "diversity" in answer else ""
    notes = [Text(f"release {answer['release']}{diversity} | {stages}", style="dim")]
    if answer.get("reason"):
        notes.insert(0, Text(answer["reason"], style="yellow"))
    return Group(table, *notes)


def _value(value: Any) -> Text:
    if isinstance(value, list):
        return Text(_printable(", ".join(map(str, value))))
    return Text("" if value is None else _printable(str(value)))


def _printable(text: str) -> str:
    """Replace control characters: an item's title may hold a terminal's escape sequences."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


if __name__ == "__main__":
    steps.run(main)
