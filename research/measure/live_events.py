"""Evaluate answers event by event: the held-out events replayed through the running server.

For each held-out event of a user, in order: a request as of its second, whose list is compared with the event; then the
event is sent. For comparison, events are sent 1 or 5 events late, or never. Unknown users are simulated by the last few
events that a user had before the held-out ones, with that user's next liked items as targets.

The events are removed afterwards. `make events` waits until then. An interrupted run resumes, as long as the same
release is served and this code has not changed.

Reads   the running server; data_exchange_center/offline (the held-out events of the release that it serves)
Writes  pic/figures/evaluation_live_events.json (another recipe's or data set's: with its name)
Run     make evaluate-live, after make up sync serve; users=all, or a number, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import steps, wire
from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.events import Event
from data_exchange_center.release_parts import (
    DatasetIds,
    read_own_ids,
    release_of_artifacts,
)
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, progress
from extras.client import Client
from extras.comparison import mean
from extras.events.event_parts import EventParts
from extras.events.log import event_log_key
from offline.data.sequences import Sequences
from offline.data.split import holdout_sizes
from offline.evaluation.metrics import plain
from offline.readers import read_with_holdout
from offline_to_online.stores.base import redis_client
from research import figures
from research.evaluation.running_server import IN_FLIGHT, expect_release
from research.measure.in_process import parse_users, sample

USERS: Final = 2_000  # take a quarter of an hour on two cores
KEPT_AT_ONCE: Final = 50  # users; what an interrupted run asks again at most
K: Final = 50
NEVER: Final = 1_000_000  # events late
LATE: Final = {
    "sent at once": 0,
    "sent 1 event late": 1,
    "sent 5 events late": 5,
    "never sent": NEVER,
}
GIVEN: Final = (0, 1, 2, 3, 5, 10)  # events that an unknown user is known by
LONG: Final = 200  # items that a server answers with at most
PREFIX: Final = "evaluate-live:"  # of eventids
TIMEOUT_S: Final = 30.0

Floats = NDArray[np.float64]
OfUser = Callable[["ServerLoop", int], "Replayed"]
Each = Callable[[OfUser, Sequence[int]], Iterator["Replayed"]]


# --- The running server: requests and events


class ServerLoop(Client):
    """Client for several threads. It removes events in Redis itself, as forgetting a user would delete more."""

    def __init__(self, settings: Settings, release: str, dataset: str) -> None:
        """``release``: the one that has to answer; ``dataset``: its `Dataset.base_name`."""
        key = settings.server.key.get_secret_value() if settings.server.key else None
        super().__init__(
            settings.server.url, key, timeout_s=TIMEOUT_S, retries=0
        )  # a retry is no measurement
        self._release = release
        self._dataset = dataset
        self._redis = redis_client(settings)

    def ask(self, userid: OwnId, timestamp: int, size: int) -> Sequence[OwnId]:
        """Request a strict list: a degraded one says nothing of the recommendations. Raises StepError, ServerError."""
        answer = self.recommend(userid, timestamp=timestamp, size=size, strict=True)
        if answer.release != self._release:
            raise StepError(
                f"The server at {self.url} answers from release {answer.release} by now."
            )
        return answer.itemids

    def tell(self, events: Sequence[Event]) -> None:
        """Raises ServerError."""
        names = ("eventid", "userid", "itemid", "type", "timestamp", "value")
        rows = [{name: getattr(event, name) for name in names} for event in events]
        if rows:
            self.record(*rows)

    def take_back(self, userid: OwnId, prefix: str) -> None:
        log = event_log_key(self._dataset, wire.event_partition(userid))
        key = wire.user_events_key(self._dataset, userid)
        stored: Any = self._redis.hgetall(key)
        sent = [name for name in stored if name.startswith(prefix.encode())]
        if not sent:
            return
        places = [stored[name].partition(b" ")[0] for name in sent]
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hdel(key, *sent)
        pipeline.xdel(log, *places)
        pipeline.execute()

    def close(self) -> None:
        super().close()
        self._redis.close()


@contextmanager
def loops(settings: Settings, release: str, dataset: str) -> Iterator[Each]:
    """Call a function for every user in a few threads, each user in one."""
    with ExitStack() as ends:
        loop = ends.enter_context(closing(ServerLoop(settings, release, dataset)))
        pool = ends.enter_context(ThreadPoolExecutor(IN_FLIGHT))
        ends.callback(pool.shutdown, cancel_futures=True)

        def each(of_user: OfUser, users: Sequence[int]) -> Iterator[Replayed]:
            futures = [pool.submit(of_user, loop, user) for user in users]
            for done in as_completed(futures):
                yield done.result()

        yield each


# --- One user's events, replayed


@dataclass(frozen=True)
class Replay:
    """Users' events, with the server's own ids.

    Attributes:
        data: of all users, the held-out events last.
        held_out: (users,) how many those are.
    """

    data: Sequences
    held_out: NDArray[np.int64]
    own_ids: DatasetIds
    dataset: Dataset

    def userid(self, user: int) -> OwnId:
        return self.own_ids.users[int(self.data.user_numbers[user])]

    def unknown_user(self, user: int) -> OwnId:
        """An id that no user has."""
        if self.dataset.user_ids == "string":
            return f"{PREFIX}{user}"
        return int(self.data.user_numbers.max()) + 1 + user

    def first(self, user: int) -> int:
        """Place of the first event."""
        return int(self.data.starts[user])

    def held(self, user: int) -> range:
        """Places of the held-out events."""
        end = int(self.data.starts[user + 1])
        return range(end - int(self.held_out[user]), end)

    def time(self, place: int) -> int:
        return int(self.data.times[place])

    def item(self, place: int) -> OwnId:
        code = self.data.items[place]
        return self.own_ids.items[int(self.data.item_numbers[code - 1])]

    def event(self, place: int, userid: OwnId) -> Event:
        dataset = self.dataset
        rates = next(
            name for name, effect in dataset.event_types.items() if effect == "rates"
        )
        level = int(self.data.ratings[place]) - 1
        value = dataset.levels[level] if dataset.has_values else None
        return Event(
            f"{PREFIX}{place}", userid, self.item(place), rates, self.time(place), value
        )


class Replayed(NamedTuple):
    """Results of one user.

    Attributes:
        ranks: a name of `LATE` -> as `replayed` gives it.
        shares: as `as_unknown_user` gives it.
    """

    user: int
    ranks: dict[str, list[float]]
    shares: list[float]


def of_user(loop: ServerLoop, user: int, replay: Replay) -> Replayed:
    """Replay a user. Before the first event, the answer is the same as without events: one request serves both."""
    never = replayed(loop, user, replay, NEVER)
    ranks = {}
    for name, late in LATE.items():
        found = never if late == NEVER else replayed(loop, user, replay, late, never)
        ranks[name] = found.tolist()
    return Replayed(user, ranks, as_unknown_user(loop, user, replay).tolist())


def replayed(
    loop: ServerLoop, user: int, replay: Replay, late: int, never: Floats | None = None
) -> Floats:
    """(held out,) rank, from 1, of each liked event's item in the list just before; inf: not on the list; NaN where
    it was not liked, or liked before.

    ``never``: the same without any event sent; steps before the first event is sent are taken from it.
    """
    userid, held = replay.userid(user), replay.held(user)
    had = {replay.item(place) for place in range(replay.first(user), held.start)}
    ranks = np.full(len(held), np.nan)
    loop.take_back(userid, PREFIX)  # of a run that was killed
    try:
        for step, place in enumerate(held):
            item = replay.item(place)
            if never is not None and step <= late:
                ranks[step] = never[step]
            elif replay.data.liked[place] and item not in had:
                items = loop.ask(userid, replay.time(place), K)
                ranks[step] = items.index(item) + 1.0 if item in items else np.inf
            if step >= late:
                loop.tell([replay.event(place - late, userid)])
    finally:
        loop.take_back(userid, PREFIX)
    return ranks


def as_unknown_user(loop: ServerLoop, user: int, replay: Replay) -> Floats:
    """(`GIVEN`,) share of the liked held-out items within the first `K`, by how many events the unknown user has.

    What the user had seen before is removed from the list, as it cannot be a target. NaN without a liked item, or with
    fewer events before than the most that are given.
    """
    userid, held = replay.unknown_user(user), replay.held(user)
    past = range(replay.first(user), held.start)
    had = {replay.item(place) for place in past}
    liked = {replay.item(place) for place in held if replay.data.liked[place]} - had
    shares = np.full(len(GIVEN), np.nan)
    if not liked or len(past) < max(GIVEN):
        return shares
    reported = 0
    loop.take_back(userid, PREFIX)
    try:
        for row, given in enumerate(GIVEN):
            newest = range(held.start - given, held.start - reported)
            loop.tell([replay.event(place, userid) for place in newest])
            reported = given
            items = loop.ask(userid, replay.time(held.start), LONG)
            new = [item for item in items if item not in had][:K]
            shares[row] = len(liked & set(new)) / len(liked)
    finally:
        loop.take_back(userid, PREFIX)
    return shares


# --- All users


def replay_all(
    replay: Replay,
    users: Sequence[int],
    kept: Path,
    about: Mapping[str, Any],
    each: Each,
) -> list[Replayed]:
    """Replay users; those in ``kept``, which an interrupted run has left there, are not replayed again.

    Args:
        about: head of the report; if it differs from that in ``kept``, all users are replayed.
        each: calls a function with a loop and every user, and gives the results as they come, in any order.
    """
    for user in users:
        assert replay.userid(user) != replay.unknown_user(user)  # noqa: S101
    report = figures.resumed(kept, about, {"replayed": []})
    found = {}
    for values in report["replayed"]:
        one = Replayed(*values)
        found[one.user] = one
    left = [user for user in users if user not in found]
    with progress(
        total=len(users), initial=len(found), desc="replayed", unit="user"
    ) as bar:
        for one in each(partial(of_user, replay=replay), left):
            found[one.user] = one
            report["replayed"].append(one)
            if len(found) % KEPT_AT_ONCE == 0:
                figures.write(kept, report, finished=False)
            bar.update()
    return [found[user] for user in users]


def summary(found: Sequence[Replayed]) -> dict[str, Any]:
    """The means over users, with intervals."""
    rows = {name: of_ranks([user.ranks[name] for user in found]) for name in LATE}
    shares = np.array([user.shares for user in found])  # (users, given)
    unknown_users = {
        str(given): mean(column) for given, column in zip(GIVEN, shares.T, strict=True)
    }
    return {"replay": rows, "unknown_users": unknown_users}


def of_ranks(found: Sequence[list[float]]) -> dict[str, Any]:
    """Means over users of their means over events; and over users, event by event."""
    ranks = np.full((len(found), max(map(len, found))), np.nan)  # (users, events)
    for row, of_one in zip(ranks, found, strict=True):
        row[: len(of_one)] = of_one
    there = ~np.isnan(ranks)
    events = there.sum(axis=1)
    hits = ranks <= K
    values = {
        "hit@10": ranks <= 10,
        f"hit@{K}": hits,
        f"ndcg@{K}": 1 / np.log2(ranks + 1),
    }
    summary: dict[str, Any] = {"events": int(events.sum())}
    for name, value in values.items():
        total = np.where(there, value, 0.0).sum(axis=1)
        summary[name] = mean(
            np.where(events > 0, total / np.maximum(events, 1), np.nan)
        )
    by_event = summary["by event"] = []
    for step, users in enumerate(there.T):
        by_event.append(float(hits[users, step].mean()) if users.any() else None)
    return summary


# --- The command


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.measure.live_events",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parse_users(parser, USERS)
    release = release_of_artifacts(settings)
    expect_release(settings.server.url, release.release)
    inputs = read_with_holdout(settings)
    data, dataset = inputs.data, inputs.dataset
    held_out = holdout_sizes(dataset.holdout, data.lengths, data.newest)
    replay = Replay(data, held_out, read_own_ids(settings.exchange_dir), dataset)
    users = sample(data.n_users, size).tolist()
    named = release.dataset.base_name
    parts = EventParts(settings.events_dir(named))
    about = figures.head("make evaluate-live", settings, settings.recipe)
    about["release"] = release.release
    kept = settings.offline_dir / "evaluation" / "live_events.json"
    with parts.locked(), loops(settings, release.release, named) as each:
        replayed = replay_all(replay, users, kept, about, each)
    if size != USERS:
        about["command"] += f" users={size or 'all'}"
    found = plain({**about, "users": len(users), **summary(replayed)})
    figures.write(figures.path_of(found, settings, "evaluation_live_events"), found)
    rows = {}
    for name, row in found["replay"].items():
        rows[name] = {
            metric: value["mean"]
            for metric, value in row.items()
            if isinstance(value, dict)
        }
    figures.show(rows)
    kept.unlink(missing_ok=True)


if __name__ == "__main__":
    steps.run(main)
