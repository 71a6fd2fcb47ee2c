"""What it is worth that the next answer knows the last event: the held-out events replayed through the running server.

Of each user the held-out events come one after the other: the server is asked as of each one's second, the list is held
against that event, then the server is told. Beside that: told 1 or 5 events late, and never. And strangers: each is
told the last few events that a user had before the held-out ones, and asked for what that user liked next.

The events are taken back afterwards. `make events` waits so long.

Reads   the running server; data_exchange_center/offline (the held-out events of the release that it serves)
Writes  pic/figures/evaluation_live_events.json (another recipe's or data set's: with its name)
Run     make evaluate-live, after make up sync serve; users=1000: of so many users, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.dataset import Dataset
from data_exchange_center.event_parts import EventParts
from data_exchange_center.events import Event
from data_exchange_center.machine import machine
from data_exchange_center.own_ids import DatasetIds, OwnId
from data_exchange_center.progress import progress
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from offline.data.sequences import Sequences
from offline.evaluation.evaluate import write
from offline.evaluation.live import IN_FLIGHT, expect_release
from offline.evaluation.metrics import mean
from offline.evaluation.report import plain
from offline.readers import read_with_holdout
from offline_to_online.measure.server_loop import Loop, ServerLoop
from offline_to_online.measure.some_users import parse_users, sample

K: Final = 50
NEVER: Final = 1_000_000  # events late
LATE: Final = {"told at once": 0, "told 1 event late": 1, "told 5 events late": 5, "never told": NEVER}
GIVEN: Final = (0, 1, 2, 3, 5, 10)  # events that a stranger is known by
LONG: Final = 200  # items that a server answers with at most
PREFIX: Final = "evaluate-live:"  # of eventids

Floats = NDArray[np.float64]
Each = Callable[[Callable[[Loop, int], Any], Sequence[int], str], list[Any]]


@dataclass(frozen=True)
class Replay:
    """Users' events, in the words of the server.

    Attributes:
        data: of all users, the held-out events last.
        held_out: (users,) how many those are.
    """

    data: Sequences
    held_out: NDArray[np.int64]
    own_ids: DatasetIds
    dataset: Dataset

    def userid(self, user: int) -> OwnId:
        return self.own_ids.users[int(self.data.userids[user])]

    def stranger(self, user: int) -> OwnId:
        """An id that no user has."""
        if self.dataset.user_ids == "string":
            return f"{PREFIX}{user}"
        return int(self.data.userids.max()) + 1 + user

    def held(self, user: int) -> range:
        """Places of the held-out events."""
        end = int(self.data.starts[user + 1])
        return range(end - int(self.held_out[user]), end)

    def item(self, place: int) -> OwnId:
        return self.own_ids.items[int(self.data.itemids[self.data.items[place] - 1])]

    def event(self, place: int, userid: OwnId) -> Event:
        dataset = self.dataset
        rates = next(name for name, effect in dataset.event_types.items() if effect == "rates")
        value = dataset.levels[int(self.data.ratings[place]) - 1] if dataset.has_values else None
        return Event(f"{PREFIX}{place}", userid, self.item(place), rates, int(self.data.times[place]), value)


def replayed(loop: Loop, user: int, replay: Replay, late: int) -> Floats:
    """(held out,) rank, from 1, of each liked event's item when asked for just before; inf: not on the list; NaN where
    it was not liked, or liked before."""
    userid, held = replay.userid(user), replay.held(user)
    before = set(replay.data.items[replay.data.starts[user] : held.start].tolist())
    ranks = np.full(len(held), np.nan)
    loop.take_back(userid, PREFIX)  # of a run that was killed
    try:
        for step, place in enumerate(held):
            if replay.data.liked[place] and replay.data.items[place] not in before:
                asked = loop.ask(userid, int(replay.data.times[place]), K)
                ranks[step] = _rank(asked, replay.item(place))
            if step >= late:
                loop.tell([replay.event(place - late, userid)])
    finally:
        loop.take_back(userid, PREFIX)
    return ranks


def as_stranger(loop: Loop, user: int, replay: Replay) -> Floats:
    """(`GIVEN`,) share of the liked held-out items within the first `K`, by how many events the stranger has.

    What the user had seen before is taken off the list, as no held-out item is new that was seen. NaN without a liked
    item, or with fewer events before than the most that are given.
    """
    userid, held = replay.stranger(user), replay.held(user)
    first = int(replay.data.starts[user])
    before = {replay.item(place) for place in range(first, held.start)}
    liked = {replay.item(place) for place in held if replay.data.liked[place]} - before
    shares = np.full(len(GIVEN), np.nan)
    if not liked or held.start - first < max(GIVEN):
        return shares
    told = 0
    loop.take_back(userid, PREFIX)
    try:
        for row, given in enumerate(GIVEN):
            if given > told:
                loop.tell([replay.event(held.start - n, userid) for n in range(given, told, -1)])
                told = given
            asked = loop.ask(userid, int(replay.data.times[held.start]), LONG)
            new = [item for item in asked if item not in before][:K]
            shares[row] = len(liked & set(new)) / len(liked)
    finally:
        loop.take_back(userid, PREFIX)
    return shares


def measure(replay: Replay, users: Sequence[int], each: Each) -> dict[str, Any]:
    """``each``: calls a function with a `Loop` and every user, and returns the results in that order."""
    for user in users:
        assert replay.userid(user) != replay.stranger(user)  # noqa: S101
    rows = {}
    for name, late in LATE.items():
        rows[name] = _summary(each(partial(replayed, replay=replay, late=late), users, name))
    shares = np.array(each(partial(as_stranger, replay=replay), users, "strangers"))
    strangers = {str(given): asdict(mean(shares[:, row])) for row, given in enumerate(GIVEN)}
    return {"replay": rows, "strangers": strangers}


def _summary(found: Sequence[Floats]) -> dict[str, Any]:
    """Means over users of their means over events; and over users, event by event."""
    width = max(len(ranks) for ranks in found)
    ranks = np.array([np.concatenate([row, np.full(width - len(row), np.nan)]) for row in found])
    there = ~np.isnan(ranks)
    values = {"hit@10": (ranks <= 10) * 1.0, f"hit@{K}": (ranks <= K) * 1.0, f"ndcg@{K}": 1 / np.log2(ranks + 1)}
    summary: dict[str, Any] = {"events": int(there.sum())}
    for name, value in values.items():
        of_user = np.array(
            [row[known].mean() if known.any() else np.nan for row, known in zip(value, there, strict=True)]
        )
        summary[name] = asdict(mean(of_user))
    hits = values[f"hit@{K}"]
    summary["by event"] = [
        float(hits[there[:, step], step].mean()) if there[:, step].any() else None for step in range(width)
    ]
    return summary


def _rank(items: Sequence[OwnId], item: OwnId) -> float:
    return items.index(item) + 1.0 if item in items else float("inf")


@contextmanager
def loops(settings: Settings, release: str) -> Iterator[Each]:
    """Users are asked for by a few threads, each with connections of its own; a user by one thread."""
    free: SimpleQueue[ServerLoop] = SimpleQueue()
    with ExitStack() as ends:
        for _ in range(IN_FLIGHT):
            free.put(ends.enter_context(closing(ServerLoop(settings, release))))
        pool = ends.enter_context(ThreadPoolExecutor(IN_FLIGHT))
        ends.callback(pool.shutdown, cancel_futures=True)

        def each(of: Callable[[Loop, int], Any], users: Sequence[int], what: str) -> list[Any]:
            def one(user: int) -> Any:
                loop = free.get()
                try:
                    return of(loop, user)
                finally:
                    free.put(loop)

            return list(progress(pool.map(one, users), total=len(users), desc=what, unit="user"))

        yield each


def show(found: Mapping[str, Any], console: Console) -> None:
    names = ("hit@10", f"hit@{K}", f"ndcg@{K}")
    table = Table("", *names, title=f"{found['users']:,} users of {found['dataset']}, the next liked item")
    for name, row in found["replay"].items():
        table.add_row(name, *(f"{row[metric]['mean']:.4f}" for metric in names))
    console.print(table)
    table = Table("events given", *found["strangers"], title="strangers")
    table.add_row(f"recall@{K}", *(f"{row['mean']:.4f}" for row in found["strangers"].values()))
    console.print(table)


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m offline_to_online.measure.prequential", description=__doc__)
    size = parse_users(parser)
    release = release_of_artifacts(settings)
    expect_release(settings.server.url, release.release)
    inputs = read_with_holdout(settings)
    replay = Replay(
        inputs.data,
        inputs.dataset.holdout.sizes(inputs.data.lengths),
        read_own_ids(settings.exchange_dir),
        inputs.dataset,
    )
    users = sample(inputs.data.n_users, size).tolist()
    with EventParts(settings.events_dir).locked(), loops(settings, release.release) as each:
        measured = measure(replay, users, each)
    found = plain(
        {
            "command": f"make evaluate-live{f' users={size}' if size else ''}",
            "machine": machine(),
            "dataset": release.dataset.name,
            "recipe": settings.recipe.name,
            "release": release.release,
            "users": len(users),
            **measured,
        }
    )
    write(found, settings, "evaluation_live_events")
    show(found, Console())


if __name__ == "__main__":
    steps.run(main)
