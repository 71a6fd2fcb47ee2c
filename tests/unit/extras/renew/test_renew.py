"""A renewal over made-up data: the steps are real, the live pointer and the sync are not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.events import Event
from data_exchange_center.files import sha256
from data_exchange_center.release_parts import read_dataset, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events import s1_log_to_parquet
from extras.events.event_parts import Entry, EventParts
from extras.renew import __main__ as renew
from extras.renew import gate
from extras.renew.gate import RefusedError
from extras.trials import __main__ as commands
from extras.trials import changes
from extras.trials.state import TrialError, Trials
from offline.feedback import exported
from tests.made_up_data import shop
from tests.unit.extras.trials.test_changes import experiment, started
from tests.unit.offline.synthetic import step

LATER = 1_800_000_000  # after everything in the data


@dataclass
class Steps:
    """As `run_steps`, in this process. The same data, events and recipe are trained once, and copied from then on."""

    folder: Path
    known: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def __call__(
        self, settings: Settings, exchange_dir: Path
    ) -> Iterator[dict[str, Any]]:
        here = settings.model_copy(update={"exchange_dir": exchange_dir})
        events = filter(Path.is_file, sorted(exchange_dir.rglob("*")))
        given = (str(here.data), here.recipe.model_dump_json(), *map(sha256, events))
        made = self.known.get(given)
        if made is not None:
            shutil.copytree(made, exchange_dir, symlinks=True, dirs_exist_ok=True)
        for number, each in enumerate(provenance.STEPS):
            if made is None:
                step(here, number)
            yield {"step": each.path, "seconds": 0.0}
        if made is None:
            self.known[given] = self.folder / str(len(self.known))
            shutil.copytree(exchange_dir, self.known[given], symlinks=True)


@dataclass
class Stack:
    """What is live, and what becomes of it."""

    settings: Settings
    live: str
    fails: list[BaseException] = field(default_factory=list)  # of the next syncs

    def sync(self, target: str = "sync") -> None:
        if self.fails:
            raise self.fails.pop(0)
        if target == "sync":
            self.live = release_of_artifacts(self.settings).release

    def renew(
        self, margin: float = renew.MARGIN, *, canary: bool = False, **changes: Any
    ) -> dict[str, Any]:
        return renew.renew(
            self.settings.model_copy(update=changes), margin, canary=canary
        )

    def recipe(self, folder: Path, **changes: Any) -> str:
        """The recipe with another recall, as a file."""
        recipe = self.settings.recipe
        recall = recipe.recall.model_copy(update=changes)
        other = recipe.model_copy(update={"name": "other", "recall": recall})
        path = folder / "other.json"
        path.write_text(other.model_dump_json(), encoding="utf-8")
        return str(path)

    @property
    def report(self) -> dict[str, Any]:
        path = self.settings.service_dir("renewal") / "report.json"
        return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return Steps(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, steps: Steps) -> Settings:
    folder = tmp_path_factory.mktemp("renewal")
    settings = Settings(
        data=shop(folder / "data", users=260, items=60, views=5_000),
        exchange_dir=folder / "exchange",
    )
    list(steps(settings, settings.exchange_dir))
    return settings


@pytest.fixture
def stack(
    made: Settings, steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Stack:
    exchange = tmp_path / "exchange"
    shutil.copytree(made.exchange_dir, exchange)
    settings = made.model_copy(update={"exchange_dir": exchange})
    manifest = release_of_artifacts(settings)
    stack = Stack(settings, manifest.release)
    published = SimpleNamespace(manifest=manifest)
    store = SimpleNamespace(
        listed=lambda: (stack.live, []), published=lambda release: published
    )
    monkeypatch.setattr(renew, "RedisStore", lambda settings: store)
    monkeypatch.setattr(renew, "run_steps", steps)
    monkeypatch.setattr(renew, "sync", stack.sync)
    monkeypatch.setattr(s1_log_to_parquet, "main", lambda settings: None)
    return stack


def collected(
    settings: Settings, users: int, each: int = 5, exposed: int = 0
) -> pd.DataFrame:
    """Events of users who go on through the shop, later than all of the data; exported.

    ``exposed``: the last of them that name a recommendation.
    """
    ratings, people, items = (
        table.read(settings.artifacts_dir)
        for table in (artifacts.RATINGS, artifacts.USERS, artifacts.ITEMS)
    )
    own_users = people.set_index(Columns.USER)[Columns.OWN_ID]
    own_items = items.set_index(Columns.ITEM)[Columns.OWN_ID]
    seen = ratings.groupby(Columns.USER)[Columns.ITEM].agg(set)
    few = seen.map(len).nsmallest(users).index
    rows = sorted(
        (n, own_users[user], own_items[item])
        for user in few
        for n, item in enumerate(sorted({*own_items.index} - seen[user])[:each])
    )
    entries = []
    for n, (after_s, user, item) in enumerate(rows):
        shown = "r1" if n >= len(rows) - exposed else None
        event = Event(
            f"e{n}", user, item, "click", LATER + after_s, recommendation=shown
        )
        entries.append(Entry((LATER * 1000 + n, 0), user, event))
    parts = EventParts(settings.events_dir("shop"))
    parts.append(0, entries)
    return exported(parts.folder)


def damaged(settings: Settings, folder: Path, shuffle: bool) -> Path:
    """The shop's data with shuffled items, or every other event of it."""
    shutil.copytree(str(settings.data), folder)
    path = folder / "interactions.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    if shuffle:
        rows.iloc[:, 1] = np.random.default_rng(0).permutation(rows.iloc[:, 1])
    else:
        rows = rows[::2]
    rows.to_csv(path, index=False)
    return folder


def served(stack: Stack, release: str) -> bool:
    """Whether the release is live, and its artifacts lie where they were."""
    return stack.live == release == release_of_artifacts(stack.settings).release


def test_a_whole_basket_is_held_out() -> None:
    times = [5, 9, 9, 9, 1, 2]
    events = pd.DataFrame({"userid": [1] * 4 + [2] * 2, "timestamp": times})
    basket = gate.held_out(events, HoldoutRule(basket=True))
    assert basket.index.tolist() == [1, 2, 3, 5]
    last = gate.held_out(events, HoldoutRule(last=2))
    assert last.index.tolist() == [2, 3, 4, 5]


def test_new_events_are_trained_on_and_the_newest_of_them_judge(stack: Stack) -> None:
    former = stack.live
    events = collected(stack.settings, users=160)
    found = stack.renew()
    assert (found["verdict"], found["live"]) == ("activated", former)
    assert found["events"] == {"new": 800, "held back": 160}
    fitted = artifacts.EVENTS.read(stack.settings.artifacts_dir)
    assert set(fitted["eventid"]) == set(events["eventid"][:640])
    report = found["gate"]
    assert report["all"]["users"] >= gate.LEAST_USERS
    assert served(stack, found["candidate"])
    previous = renew.previous_dir(stack.settings)
    # the former release's artifacts are kept
    assert len(artifacts.EVENTS.read(previous)) == 0


@pytest.mark.parametrize(("users", "enough"), [(160, True), (60, False)])
def test_fitted_events_are_no_targets(
    stack: Stack, steps: Steps, tmp_path: Path, users: int, enough: bool
) -> None:
    """Where many users have events in the part that is held back, these are all targets."""
    events = collected(stack.settings, users)
    candidate = stack.settings.model_copy(
        update={"exchange_dir": tmp_path / "candidate"}
    )
    renew.hold_back(events, candidate, stack.settings)
    list(steps(stack.settings, candidate.exchange_dir))
    rows = gate.newest_events(stack.settings, candidate, events)
    targets = rows[rows[gate.TARGET]]
    with_events = targets[targets[Columns.USER].isin(events["userid"])]
    held = events[4 * users :]
    # not what their data set holds out, which comes before events that the candidate was fitted on
    found = with_events[[Columns.USER, Columns.ITEM]].to_numpy().tolist()
    assert sorted(found) == sorted(held[["userid", "itemid"]].to_numpy().tolist())
    # else of others what the data set holds out
    assert (len(targets) == len(with_events)) == enough
    begins = targets.groupby(Columns.USER)[Columns.TIMESTAMP].min()
    others = rows[~rows[gate.TARGET]]
    assert (others[Columns.TIMESTAMP] <= others[Columns.USER].map(begins)).all()


@pytest.mark.parametrize(
    ("shuffle", "match"),
    [
        (False, r"the data set has 2,500 ratings, and .* has 5,000: less than 90%"),
        (True, r"the candidate's NDCG@50 is 0\.\d+, the live release's"),
    ],
    ids=["half", "shuffled"],
)
def test_damaged_data_is_refused(
    stack: Stack, tmp_path: Path, shuffle: bool, match: str
) -> None:
    """Half a data set before it is trained on."""
    former = stack.live
    with pytest.raises(RefusedError, match=match):
        stack.renew(data=damaged(stack.settings, tmp_path / "damaged", shuffle))
    assert stack.report["verdict"] == "refused"
    assert ("gate" in stack.report) == shuffle
    assert served(stack, former)


@pytest.mark.parametrize(("exposed", "judged_by"), [(40, "unexposed"), (100, "all")])
def test_events_on_shown_items_are_compared_apart(
    stack: Stack, exposed: int, judged_by: str
) -> None:
    """They favour the live release, which chose them: with enough others, these alone decide."""
    collected(stack.settings, users=160, exposed=exposed)
    report = stack.renew(1.0)["gate"]
    assert (report["exposed events"], report["judged by"]) == (exposed, judged_by)
    assert report["all"]["users"] == report["unexposed"]["users"] + exposed


@pytest.mark.parametrize(
    "error", [StepError("Triton does not answer"), KeyboardInterrupt()], ids=repr
)
def test_after_an_error_the_next_renewal_trains_again(
    stack: Stack, error: BaseException
) -> None:
    """An error puts the live release's artifacts back at once; of a killed renewal, the next one does."""
    former = stack.live
    collected(stack.settings, users=160)
    stack.fails = [error]
    with pytest.raises(type(error)):
        stack.renew()
    assert "verdict" not in stack.report
    assert stack.live == former
    assert isinstance(error, KeyboardInterrupt) or served(stack, former)
    assert stack.renew()["verdict"] == "activated"
    assert served(stack, stack.report["candidate"])


def test_too_few_users_tell_nothing() -> None:
    report = {"judged by": "all", "all": {"users": 99}}
    with pytest.raises(RefusedError, match=r"99 users liked .* and 100 are needed"):
        gate.expect_no_worse(report)


class Tried:
    """Trials, in the place of Redis."""

    def __init__(self) -> None:
        self.found = Trials()
        self.fails: list[BaseException] = []  # of the next canaries
        self.killed = False  # once the next canary has begun

    def begin(self, settings: Settings, release: str) -> None:
        if self.fails:
            raise self.fails.pop(0)
        active = "a" * 12
        published = {active: "", release: ""}
        self.found = started(release=release, active=active, published=published)
        if self.killed:
            raise KeyboardInterrupt

    def end(self, verdict: Any, reason: str = "", detail: str = "") -> None:
        assert self.found.canary is not None
        self.found = changes.end_canary(
            self.found, self.found.canary, verdict, reason, detail
        )


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Tried:
    trials = Tried()
    monkeypatch.setattr(commands, "trials", lambda _: trials.found)
    monkeypatch.setattr(commands, "start_canary", trials.begin)
    return trials


@pytest.mark.parametrize("activated", [True, False])
def test_a_canary_is_begun_and_its_end_settles_the_artifacts(
    stack: Stack, trials: Tried, activated: bool
) -> None:
    former = stack.live
    collected(stack.settings, users=160)
    candidate = stack.renew(canary=True)["candidate"]
    assert (stack.report["verdict"], stack.live) == ("canary", former)
    assert trials.found.canary is not None
    assert trials.found.canary.release == candidate
    with pytest.raises(StepError, match="is still on trial"):
        stack.renew()
    trials.end("stopped", "superseded")
    again = stack.renew(canary=True)
    assert again["candidate"] == candidate, "one that others ended is tried again"
    trials.end("activated" if activated else "rolled back")
    stack.live = candidate if activated else former
    assert (renew.rejected_by_canary(stack.settings, candidate) is None) == activated
    renew.put_back(stack.settings, candidate, stack.live)
    assert served(stack, stack.live)


def test_artifacts_that_are_not_the_candidates_stay(stack: Stack) -> None:
    """Somebody has trained and gone live since, with `make offline sync`."""
    former = tuple(stack.settings.artifacts_dir.iterdir())
    previous = renew.previous_dir(stack.settings)
    shutil.copytree(stack.settings.artifacts_dir, previous)
    renew.put_back(stack.settings, "b" * 12, stack.live)
    assert tuple(stack.settings.artifacts_dir.iterdir()) == former
    # of a run of the steps that has not ended
    artifacts.EVENTS.at(stack.settings.artifacts_dir).unlink()
    renew.put_back(stack.settings, "b" * 12, stack.live)
    assert previous.exists()


def test_a_renewal_that_cannot_begin_its_canary_does_nothing(
    stack: Stack, trials: Tried
) -> None:
    trials.found = Trials(experiments=(experiment(),))
    with pytest.raises(TrialError, match="experiment"):
        stack.renew(canary=True)
    assert not (stack.settings.service_dir("renewal") / "report.json").exists()


@pytest.mark.parametrize(
    "error",
    [TrialError("release", "an experiment runs"), KeyboardInterrupt()],
    ids=repr,
)
def test_a_canary_that_never_began_is_begun_by_the_next_renewal(
    stack: Stack, trials: Tried, error: Exception
) -> None:
    """Also where the renewal was killed just before."""
    collected(stack.settings, users=160)
    trials.fails = [error]
    with pytest.raises(type(error)):
        stack.renew(canary=True)
    assert trials.found.canary is None
    assert stack.renew(canary=True)["verdict"] == "canary"


def test_a_rejected_release_is_not_tried_again(
    stack: Stack, trials: Tried, tmp_path: Path
) -> None:
    """Although the renewal was killed after the canary had begun."""
    former = stack.live
    collected(stack.settings, users=160)
    trials.killed = True
    with pytest.raises(KeyboardInterrupt):
        stack.renew(canary=True)
    trials.end("rolled back", "errors", "in figures")
    tried = r"was tried: .* rolled back, errors, in figures"
    for canary_too in (True, False):
        with pytest.raises(RefusedError, match=tried):
            stack.renew(canary=canary_too)
        assert stack.report["verdict"] == "refused"
        assert served(stack, former)
    assert len(trials.found.ended) == 1
    trials.killed = False
    other = stack.recipe(tmp_path)
    assert stack.renew(canary=True, recipe_name=other)["verdict"] == "canary"


def test_killed_between_two_renames(stack: Stack) -> None:
    """And nothing new is no new release."""
    previous = renew.previous_dir(stack.settings)
    previous.parent.mkdir(parents=True)
    stack.settings.artifacts_dir.rename(previous)
    assert stack.renew()["verdict"] == "unchanged"
    assert stack.settings.artifacts_dir.exists()
    assert not (stack.settings.service_dir("renewal") / "candidate").exists()


def test_of_two_at_once_the_second_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(StepError, match="renewal runs")
    with renew.locked(tmp_path), refused, renew.locked(tmp_path):
        pass


def test_other_artifacts_than_those_that_are_live(stack: Stack) -> None:
    stack.live = "0123456789ab"
    with pytest.raises(StepError, match="release 0123456789ab is live"):
        stack.renew()
    stack.live = None  # type: ignore[assignment]
    with pytest.raises(StepError, match="no release is live"):
        stack.renew()


def test_the_data_set_that_was_judged(stack: Stack) -> None:
    dataset = read_dataset(stack.settings.artifacts_dir)
    with pytest.raises(
        RefusedError,
        match="the data set is another, and the live release is of shop",
    ):
        renew.expect_size(dataset.model_copy(update={"name": "another"}), dataset)
