"""Imported models, by the library's lists and by the stack's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.release_parts import DatasetIds, OwnIds
from data_exchange_center.settings import Settings
from extras.models.__main__ import export_events, import_model
from offline.data.sequences import Sequences
from offline.preprocess import s0_get_data, s1_data_split
from research.measure import next_basket
from research.measure.canary import NAMES, Collected, simulate
from research.measure.imported import quality
from research.measure.live_events import (
    PREFIX,
    Replay,
    Replayed,
    replay_all,
    replayed,
    summary,
)
from research.measure.search import (
    best_weight,
    measures,
)
from tests.datasets import STARS
from tests.made_up_data import shop, supermarket
from tests.unit.extras.models.bundles import events, written
from tests.unit.offline.synthetic import run_steps

# Live events

USERS, EACH, HELD = (3, 8), 30, 10
ABOUT = {"command": "make evaluate-live", "release": "one"}


class NextInLine:
    """Recommends the items that come after the last event's, and knows nothing else."""

    def __init__(self) -> None:
        self.reported: dict[OwnId, list[Event]] = {}

    def ask(self, userid: OwnId, timestamp: int | None, size: int) -> Sequence[OwnId]:
        known = [
            event
            for event in self.reported.get(userid, [])
            if timestamp is None or event.timestamp < timestamp
        ]
        last = max(known, key=lambda event: event.timestamp).itemid if known else 1_000
        return list(range(last + 1, last + 1 + size))

    def tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self.reported.setdefault(event.userid, []).append(event)

    def take_back(self, userid: OwnId, prefix: str) -> None:
        self.reported[userid] = [
            event
            for event in self.reported.get(userid, [])
            if not event.eventid.startswith(prefix)
        ]


@pytest.fixture
def replay() -> Replay:
    """Everybody sees the items in the order of their numbers, and likes them all."""
    events = len(USERS) * EACH
    data = Sequences(
        user_numbers=np.array(USERS),
        item_numbers=np.arange(1, EACH + 1),
        starts=np.arange(0, events + 1, EACH),
        items=np.tile(np.arange(1, EACH + 1), len(USERS)),
        ratings=np.full(events, 5),
        liked=np.ones(events, bool),
        times=np.tile(np.arange(EACH) * 60, len(USERS)),
    )
    ids = DatasetIds(
        OwnIds(list(USERS), [str(user) for user in USERS], "integer"),
        OwnIds(
            list(range(1, EACH + 1)),
            [str(item) for item in range(1, EACH + 1)],
            "integer",
        ),
    )
    return Replay(data, np.full(len(USERS), HELD), ids, STARS)


@pytest.mark.parametrize("late", [0, 1, 5, 100])
def test_later_events_leave_the_list_further_behind(replay: Replay, late: int) -> None:
    ranks = replayed(NextInLine(), 0, replay, late)
    assert ranks.tolist() == [
        late + 1.0 if step > late else float("inf") for step in range(HELD)
    ]


def test_nothing_stays_of_it_and_nothing_else_goes(
    replay: Replay, tmp_path: Path
) -> None:
    loop = NextInLine()

    def each(
        of: Callable[[NextInLine, int], Replayed], users: Sequence[int]
    ) -> Iterator[Replayed]:
        return (of(loop, user) for user in users)

    theirs = Event("theirs", USERS[0], 900, "rating", 5, 4.0)
    loop.tell(
        [theirs, Event(f"{PREFIX}of a killed run", USERS[0], 29, "rating", 6, 4.0)]
    )
    found = summary(replay_all(replay, [0, 1], tmp_path / "kept", ABOUT, each))
    assert [event for events in loop.reported.values() for event in events] == [theirs]
    rows = found["replay"]
    assert rows["sent at once"]["by event"] == [0.0, *[1.0] * (HELD - 1)]
    assert rows["never sent"]["hit@50"]["mean"] == 0
    assert rows["sent at once"]["events"] == rows["never sent"]["events"] == 2 * HELD
    assert found["unknown_users"]["1"]["mean"] == 1

    def broken(userid: OwnId, timestamp: int | None, size: int) -> Sequence[OwnId]:
        if loop.reported.get(userid, []) not in ([], [theirs]):
            raise ConnectionError
        return []

    loop.ask = broken  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        replay_all(replay, [0], tmp_path / "kept", ABOUT, each)
    assert [event for events in loop.reported.values() for event in events] == [theirs]


# search


def test_measures_of_a_list_by_hand() -> None:
    found = measures([7, 1, 9, 2], {1, 2, 3})
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    expected = {
        "success@10": 1.0,
        "NDCG@10": (1 / np.log2(3) + 1 / np.log2(5)) / ideal,
        "recall@50": 2 / 3,
    }
    assert found == pytest.approx(expected)
    assert measures([7], {1}) == {"success@10": 0.0, "NDCG@10": 0.0, "recall@50": 0.0}


def test_no_weight_is_chosen_with_which_words_find_less() -> None:
    def both(words: float, paraphrases: float) -> dict[str, dict[str, float]]:
        return {"words": {"NDCG@10": words}, "paraphrases": {"NDCG@10": paraphrases}}

    weights = {"0.3": both(0.9, 0.1), "0.6": both(0.8, 0.4), "0.9": both(0.7, 0.9)}
    assert best_weight(both(0.8, 0.0), weights) == "0.6"
    assert best_weight(both(0.9, 0.0), weights) == "0.3"
    assert best_weight(both(0.95, 0.0), weights) == "none"


# canary

N = 300


@pytest.fixture(scope="module")
def active() -> Collected:
    generator = np.random.default_rng(0)
    problems = {name: np.zeros(N, np.bool_) for name in NAMES}
    return Collected(
        problems,
        generator.lognormal(3, 0.6, N),
        np.full(N, 10),
        generator.poisson(3, N),
    )


def test_a_release_like_the_active_one_is_activated(active: Collected) -> None:
    ended = simulate(active, active, np.random.default_rng(1))
    assert (ended["reason"], ended["step"], ended["likes lost"]) == ("", 3, 0)


@pytest.mark.parametrize("reason", ["errors", "degraded", "short", "wrong", "scores"])
def test_a_problem_of_some_answers_is_named(active: Collected, reason: str) -> None:
    ended = simulate(
        active, active.where(0.06, reason, lost=True), np.random.default_rng(1)
    )
    assert (ended["reason"], ended["step"]) == (reason, 1)
    assert ended["likes lost"] > 0


def test_slow_answers_and_lost_likes_are_named(active: Collected) -> None:
    assert (
        simulate(active, active.slower(1.0, 80.0), np.random.default_rng(1))["reason"]
        == "latency"
    )
    assert (
        simulate(active, active, np.random.default_rng(1), likes=0.8)["reason"]
        == "likes"
    )


# Imported models, by the library's lists and by the stack's.


@pytest.mark.parametrize("kind", ["vectors", "item-item"])
def test_served_lists_have_the_recall_of_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path / "exchange"))
    settings = Settings(data=shop(tmp_path / "data", users=60, items=70, views=900))
    for step in (s0_get_data, s1_data_split):
        step.main(settings)
    export_events(settings, tmp_path / "events")
    folder = written(tmp_path / "bundle", kind, events(settings))
    recipe = import_model(settings, folder, with_default=False)
    found = quality(
        run_steps(settings.model_copy(update={"recipe_name": str(recipe)})), folder
    )
    assert 0 < found["library"] <= 1
    assert found["stack"] == pytest.approx(
        found["library"], abs=0.03
    )  # a request does not know its own second's events


# next_basket


def test_the_next_basket_and_the_baselines(tmp_path: Path) -> None:
    settings = run_steps(
        Settings(
            data=supermarket(tmp_path / "data"), exchange_dir=tmp_path / "exchange"
        )
    )
    next_basket.main(settings)
    found = json.loads(
        (settings.offline_dir / "evaluation" / "baskets_market.json").read_text(
            encoding="utf-8"
        )
    )
    assert found["users"] == 60
    table = found["table"]
    assert table["popularity"]["recall@10"] < min(
        table[name]["recall@10"] for name in ("TIFU-KNN", "ranked")
    )
    assert (
        table["personal top"]["recall@10, had before"]
        > table["ranked"]["recall@10"] / 2
    )
