"""Keep an explained answer and a `why-not` of the running server, and time what explaining costs.

Requests of the first users in turns: plain, with what recall found, explained. Titles and ratings are left out: the
data set may not be redistributed.

Reads   the server that runs (`make serve`), users.parquet for the users
Writes  pic/figures/explain.json
Run     make explain-figures
"""

from __future__ import annotations

import time
from itertools import islice
from statistics import median
from typing import Any

from data_exchange_center import artifacts
from data_exchange_center.dataset import OwnId
from data_exchange_center.http import local_session
from data_exchange_center.release_parts import read_own_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from extras.client import Client
from research.figure_files import FIGURES
from research.figures import costs
from research.reports import publish

USERS = 60
WAYS = {"plain": False, "recall": "recall", "explained": True}
HIDDEN = ("itemid", "title", "rating", "timestamp")  # of an event of a user


def timed(client: Client, userids: list[OwnId]) -> dict[str, float]:
    """Median milliseconds of each kind of request, every user in each kind, one after the other."""
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for warm in (True, False):
        for userid in userids:
            for way, explain in WAYS.items():
                began = time.perf_counter()
                client.recommend(userid, explain=explain, strict=True)
                if not warm:
                    took[way].append((time.perf_counter() - began) * 1e3)
    return {way: round(median(times), 1) for way, times in took.items()}


def anonymous(event: dict[str, Any]) -> dict[str, Any]:
    """An event of the history without the data set's content."""
    return {"itemid": "…", "title": "…", **{name: value for name, value in event.items() if name not in HIDDEN}}


def shown(explanation: dict[str, Any]) -> dict[str, Any]:
    """One explanation with one channel, and the first of each list."""
    reason, (name, place) = explanation["reason"], next(iter(explanation["channels"].items()))
    sentence = reason["sentence"]
    for item in reason["items"]:
        sentence = {language: text.replace(item["title"], "…") for language, text in sentence.items()}
    shares, effects = place["shares"], explanation["effects"]
    return {
        "itemid": explanation["itemid"],
        "reason": {"code": reason["code"], "items": [anonymous(reason["items"][0])], "sentence": sentence},
        "channels": {name: place | {"shares": shares | {"history": [anonymous(shares["history"][0])]}}},
        "fused": explanation["fused"],
        "ranked": explanation["ranked"],
        "effects": {"columns": effects["columns"][:1], "history": [anonymous(effects["history"][0])]},
    }


def main(settings: Settings) -> None:
    """Raises StopIteration if no item of the first user is explained by liked ones."""
    url, folder = settings.server.url, settings.exchange_dir
    userids = list(islice(read_own_ids(folder).users.values(), USERS))
    with local_session() as session, Client(url, timeout_s=30, retries=0) as client:
        answer = client.recommend(userids[0], size=200, explain=True, strict=True).model_dump()
        liked = next(each for each in answer["explained"] if each["reason"]["code"] == "liked" and each["effects"])
        lost = {"userid": userids[0], "itemid": answer["item_list"][59]["itemid"]}
        why_not = session.get(f"{url}/ml/why-not", params=lost, timeout=30)
        why_not.raise_for_status()
        found = {
            "command": "make explain-figures",
            "dataset": artifacts.DATASET.read(folder)["name"],
            "ms": timed(client, userids),
            "explained": shown(liked),
            "why_not": {name: why_not.json()[name] for name in ("itemid", "code", "sentence")},
        }
    publish(FIGURES / "explain.json", found, costs.explained)


if __name__ == "__main__":
    run(main, about=__doc__)
