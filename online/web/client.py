"""A client of the server's API: send a request, and print the answer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import requests
from rich.console import Group
from rich.table import Table
from rich.text import Text

from data_exchange_center.dataset import OwnId
from data_exchange_center.http import local_session
from data_exchange_center.steps import StepError

TIMEOUT_S = 10.0
_ALWAYS = ("itemid", "score", "title")  # of an item; its other fields are the data set's attributes


def ask(
    url: str,
    userid: OwnId,
    size: int,
    *,
    timestamp: int | None = None,
    explain: bool = False,
    diversity: float | None = None,
    key: str | None = None,
) -> dict[str, Any]:
    """Request recommendations from the server.

    ``timestamp``: as of then (seconds), instead of now; ``diversity``: 0 to 1, instead of the server's setting;
    ``key``: where one is needed.

    Raises StepError with one sentence when there is none.
    """
    address = f"{url.rstrip('/')}/ml/rec"
    body: dict[str, Any] = {"userid": userid, "size": size, "explain": explain}
    if timestamp is not None:
        body["timestamp"] = timestamp
    if diversity is not None:
        body["diversity"] = diversity
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with local_session() as session:
            response = session.post(address, json=body, headers=headers, timeout=TIMEOUT_S)
    except requests.Timeout as error:
        raise StepError(f"The server at {url} did not answer within {TIMEOUT_S:.0f} s. See `make logs`.") from error
    except requests.ConnectionError as error:
        raise StepError(f"No server answers at {url}. Start it with `make serve`, or name another: --url.") from error
    except requests.RequestException as error:
        raise StepError(f"{url} is not a usable address ({error}).") from error
    try:
        answer = response.json()
        if response.ok:
            answer["item_list"]
        else:
            answer["error"]["message"]
    except (ValueError, KeyError, TypeError) as error:
        raise StepError(
            f"What answers at {url} is not this server: status {response.status_code} without the expected JSON."
        ) from error
    if not response.ok:
        raise StepError(f"The server at {url} answered {response.status_code}: {answer['error']['message']}")
    return dict(answer)


def as_curl(url: str, userid: OwnId) -> str:
    """A command line that requests recommendations for a user."""
    return f"curl -d {shlex.quote(json.dumps({'userid': userid}, ensure_ascii=False))} {url.rstrip('/')}/ml/rec"


def render(answer: dict[str, Any]) -> Group:
    """A table; below it why the answer is not personal, if it is not, the release and the times.

    Also shows the items' other fields; with `explain`, each item's place in recall's lists, and why it is there.
    """
    attributes = dict.fromkeys(name for item in answer["item_list"] for name in item if name not in _ALWAYS)
    lists = {name: _places(itemids) for name, itemids in answer.get("recall", {}).items()}
    table = Table(title=Text(f"For user {answer['userid']}"), title_justify="left")
    table.add_column("#", justify="right", style="dim")
    table.add_column("title", overflow="fold")
    for name in attributes:
        table.add_column(Text(name), style="cyan", overflow="fold")
    table.add_column("score", justify="right")
    for name in lists:
        table.add_column(f"# {name}", justify="right", style="dim")
    reasons = [each["reason"]["sentence"]["en"] for each in answer.get("explained", [])]
    for place, item in enumerate(answer["item_list"], start=1):
        # Text, not markup: a title may hold square brackets
        title = Text("\n").join([Text(item["title"]), *(Text(why, "green") for why in reasons[place - 1 : place])])
        shown = (title, *(_value(item[name]) for name in attributes))
        found = (places.get(item["itemid"], "-") for places in lists.values())
        table.add_row(str(place), *shown, f"{item['score']:.4f}", *found)
    stages = " | ".join(f"{stage} {ms:.1f} ms" for stage, ms in answer["took_ms"].items())
    diversity = f" | diversity {answer['diversity']:g}" if "diversity" in answer else ""
    notes = [Text(f"release {answer['release']}{diversity} | {stages}", style="dim")]
    if answer.get("reason"):
        notes.insert(0, Text(answer["reason"], style="yellow"))
    return Group(table, *notes)


def _value(value: Any) -> Text:
    if isinstance(value, list):
        return Text(", ".join(map(str, value)))
    return Text("" if value is None else str(value))


def _places(itemids: Sequence[OwnId]) -> dict[OwnId, str]:
    return {itemid: str(place) for place, itemid in enumerate(itemids, start=1)}
