"""Evaluate answers event by event: the held-out events replayed through the running server.

Each user's held-out events come one after the other: a request as of each one's second, whose list is compared with
that event, then the event itself. For comparison: events sent 1 or 5 late, and never. And strangers, who have the last
few events that a user had before the held-out ones, and that user's next liked items as targets.

The events are taken back afterwards. `make events` waits so long. A run that was ended goes on where it was, as long as
the same release is served.

Reads   the running server; data_exchange_center/offline (the held-out events of the release that it serves)
Writes  pic/figures/evaluation_live_events.json (another recipe's or data set's: with its name)
Run     make evaluate-live, after make up sync serve; users=all, or of so many, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.figures import machine
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import progress
from extras.events.event_parts import EventParts
from offline.evaluation.evaluate import write
from offline.evaluation.live import IN_FLIGHT, expect_release
from offline.evaluation.metrics import mean
from offline.evaluation.report import plain
from offline.readers import read_with_holdout
from research.measure.kept_results import KeptResults
from research.measure.replayed import GIVEN, LATE, Floats, K, Replay, Replayed, of_user
from research.measure.server_loop import ServerLoop
from research.measure.some_users import parse_users, sample

USERS: Final = 2_000  # take a quarter of an hour on two cores

Each = Callable[[Callable[[ServerLoop, int], Any], Sequence[int]], Iterator[Any]]


def replay_all(replay: Replay, users: Sequence[int], kept: KeptResults, each: Each) -> list[Replayed]:
    """``each``: calls a function with a `Loop` and every user, and gives the results as they come, in any order."""
    for user in users:
        assert replay.userid(user) != replay.stranger(user)  # noqa: S101
    found = kept.read()
    left = [user for user in users if user not in found]
    with progress(total=len(users), initial=len(users) - len(left), desc="replayed", unit="user") as bar:
        for one in each(partial(of_user, replay=replay), left):
            kept.add(one)
            found[one.user] = one
            bar.update()
    return [found[user] for user in users]


def summary(found: Sequence[Replayed]) -> dict[str, Any]:
    """The means over users, with intervals."""
    rows = {name: _summary([user.ranks[name] for user in found]) for name in LATE}
    shares = np.array([user.shares for user in found])
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


@contextmanager
def loops(settings: Settings, release: str, dataset: str) -> Iterator[Each]:
    """A few threads send the requests, each with connections of its own; a user has one thread."""
    free: SimpleQueue[ServerLoop] = SimpleQueue()
    with ExitStack() as ends:
        for _ in range(IN_FLIGHT):
            free.put(ends.enter_context(closing(ServerLoop(settings, release, dataset))))
        pool = ends.enter_context(ThreadPoolExecutor(IN_FLIGHT))
        ends.callback(pool.shutdown, cancel_futures=True)

        def each(of: Callable[[ServerLoop, int], Any], users: Sequence[int]) -> Iterator[Any]:
            def one(user: int) -> Any:
                loop = free.get()
                try:
                    return of(loop, user)
                finally:
                    free.put(loop)

            for done in as_completed([pool.submit(one, user) for user in users]):
                yield done.result()

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
    parser = argparse.ArgumentParser(prog="python -m research.measure.prequential", description=__doc__)
    size = parse_users(parser, USERS)
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
    named = release.dataset.base_name
    parts = EventParts(settings.events_dir(named))
    kept = KeptResults(settings.offline_dir / "evaluation" / "live_events.jsonl", release.release)
    with parts.locked(), loops(settings, release.release, named) as each:
        replayed = replay_all(replay, users, kept, each)
    found = plain(
        {
            "command": "make evaluate-live" + ("" if size == USERS else f" users={size or 'all'}"),
            "machine": machine(),
            "dataset": release.dataset.name,
            "recipe": settings.recipe.name,
            "release": release.release,
            "users": len(users),
            **summary(replayed),
        }
    )
    write(found, settings, "evaluation_live_events")
    kept.done()
    show(found, Console())


if __name__ == "__main__":
    steps.run(main)
