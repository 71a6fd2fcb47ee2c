"""A renewal over made-up data: the steps are real, the live pointer and the sync are not."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.events import Event
from data_exchange_center.files import write_json
from data_exchange_center.recipes import recipe_called
from data_exchange_center.release_parts import read_dataset, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events.event_parts import Entry, EventParts
from extras.renew import __main__ as renew
from extras.trials import __main__ as commands
from extras.trials import changes
from extras.trials.state import TrialError, Trials
from tests.made_up_data import shop
from tests.unit.extras.trials.test_changes import experiment, started
from tests.unit.offline.synthetic import step

LATER = 1_800_000_000  # after everything in the data


def steps(
    settings: Settings, exchange_dir: Path, done: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """As `run_steps`, in this process."""
    here = settings.model_copy(update={"exchange_dir": exchange_dir})
    for number, each in enumerate(provenance.STEPS):
        if each.path not in done:
            step(here, number)
            yield {"step": each.path, "seconds": 0.0}


@dataclass
class Stack:
    """What is live, and what becomes of it."""

    settings: Settings
    live: str
    ran: list[str] = field(default_factory=list)  # offline steps
    killed_after: int | None = None  # of them
    fails: list[str] = field(default_factory=list)  # of the next syncs

    def sync(self, target: str = "sync") -> None:
        if self.fails:
            raise StepError(self.fails.pop(0))
        if target == "sync":
            self.live = release_of_artifacts(self.settings).release

    def renew(self, margin: float = renew.MARGIN, **changes: Any) -> dict[str, Any]:
        return renew.renew(self.settings.model_copy(update=changes), margin)

    @property
    def report(self) -> dict[str, Any]:
        path = self.settings.service_dir("renewal") / "report.json"
        return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("renewal")
    settings = Settings(
        data=shop(folder / "data", users=260, items=60, views=5_000),
        exchange_dir=folder / "exchange",
    )
    list(steps(settings, settings.exchange_dir))
    return settings


@pytest.fixture
def stack(made: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    exchange = tmp_path / "exchange"
    shutil.copytree(made.exchange_dir, exchange)
    settings = made.model_copy(update={"exchange_dir": exchange})
    stack = Stack(settings, release_of_artifacts(settings).release)
    recipe = settings.recipe

    def run(
        of: Settings, exchange_dir: Path, done: Collection[str]
    ) -> Iterator[dict[str, Any]]:
        for ran in steps(of, exchange_dir, done):
            stack.ran.append(ran["step"])
            yield ran
            if len(stack.ran) == stack.killed_after:
                raise KeyboardInterrupt

    published = SimpleNamespace(manifest=SimpleNamespace(recipe=recipe))
    store = SimpleNamespace(
        listed=lambda: (stack.live, []), published=lambda release: published
    )
    monkeypatch.setattr(renew, "RedisStore", lambda settings: store)
    monkeypatch.setattr(renew, "run_steps", run)
    monkeypatch.setattr(renew, "sync", stack.sync)
    monkeypatch.setattr(renew.s1_log_to_parquet, "main", lambda settings: None)
    return stack


def collected(
    settings: Settings, users: int, each: int = 5, exposed: int = 0
) -> pd.DataFrame:
    """Events of users who go on through the shop, later than all of the data; exported.

    ``exposed``: the last of them that name a recommendation.
    """
    ratings, items = (
        artifacts.RATINGS.read(settings.exchange_dir),
        artifacts.ITEMS.read(settings.exchange_dir),
    )
    people = artifacts.USERS.read(settings.exchange_dir).set_index(Columns.USER)[
        Columns.OWN_ID
    ]
    own = items.set_index(Columns.ITEM)[Columns.OWN_ID]
    few = ratings.groupby(Columns.USER)[Columns.ITEM].nunique().nsmallest(users).index
    seen = ratings.groupby(Columns.USER)[Columns.ITEM].agg(set)
    events = EventParts(settings.events_dir("shop"))
    rows = [
        (LATER + n, people[user], own[item])
        for user in few
        for n, item in enumerate(
            [item for item in own.index if item not in seen[user]][:each]
        )
    ]
    entries = [
        Entry(
            (LATER * 1000 + n, 0),
            user,
            Event(
                f"e{n}",
                user,
                item,
                "click",
                at,
                recommendation="r1" if n >= len(rows) - exposed else None,
            ),
        )
        for n, (at, user, item) in enumerate(sorted(rows, key=lambda row: row[0]))
    ]
    events.append(0, entries)
    return events.read()


def damaged(
    settings: Settings,
    folder: Path,
    damage: Callable[[list[list[str]]], list[list[str]]],
) -> Path:
    """The shop's data with its rows changed."""
    shutil.copytree(str(settings.data), folder)
    with (folder / "interactions.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    with (folder / "interactions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *damage(rows)])
    return folder


def shuffled(rows: list[list[str]]) -> list[list[str]]:
    items = np.random.default_rng(0).permutation([item for _, item, _ in rows])
    return [
        [user, str(item), at] for (user, _, at), item in zip(rows, items, strict=True)
    ]


def served(stack: Stack, release: str) -> bool:
    """Whether the release is live, and its artifacts lie where they were."""
    return stack.live == release == release_of_artifacts(stack.settings).release


def test_a_whole_basket_is_held_out() -> None:
    events = pd.DataFrame(
        {"userid": [1] * 14 + [2] * 3, "timestamp": [*[5] * 2, *[9] * 12, 1, 2, 3]}
    )
    assert renew.held_out(events, HoldoutRule(basket=True)).index.tolist() == [
        *range(2, 14),
        16,
    ]
    assert renew.held_out(events, HoldoutRule(last=2)).index.tolist() == [
        12,
        13,
        15,
        16,
    ]


def test_nothing_new_is_no_new_release(stack: Stack) -> None:
    assert stack.renew()["verdict"] == "unchanged"
    assert not (stack.settings.service_dir("renewal") / "candidate").exists()


def test_new_events_are_trained_on_and_the_newest_of_them_judge(stack: Stack) -> None:
    former = stack.live
    events = collected(stack.settings, users=160)
    kept = stack.settings.offline_dir / "evaluation" / f"{former}.json"
    write_json(kept, {"ndcg": 0.5})
    found = stack.renew()
    assert json.loads(kept.read_text("utf-8")) == {
        "ndcg": 0.5
    }  # for `make evaluate against=`
    assert (found["verdict"], found["live"], found["candidate"]) == (
        "activated",
        former,
        stack.live,
    )
    assert found["events"] == {"new": 800, "held back": 160}
    fitted = artifacts.EVENTS.read(stack.settings.exchange_dir)
    assert set(fitted["eventid"]) == set(events["eventid"][:640])
    gate = found["gate"]
    assert gate[gate["judged by"]]["users"] >= renew.LEAST_USERS
    assert (gate["exposed events"], gate["judged by"]) == (0, "all")
    assert served(stack, found["candidate"])
    previous = stack.settings.service_dir("renewal") / "previous"
    assert (
        len(pq.read_table(previous / "events.parquet")) == 0
    )  # the former release's artifacts are kept


@pytest.mark.parametrize(("users", "enough"), [(160, True), (60, False)])
def test_fitted_events_are_no_targets(
    stack: Stack, tmp_path: Path, users: int, enough: bool
) -> None:
    """Where many users have events in the part that is held back, these are all targets."""
    events = collected(stack.settings, users)
    candidate = stack.settings.model_copy(
        update={"exchange_dir": tmp_path / "candidate"}
    )
    renew.hold_back(stack.settings, candidate, stack.settings)
    list(steps(stack.settings, candidate.exchange_dir))
    rows = renew.newest_events(stack.settings, candidate, events)
    targets = rows[rows[renew.TARGET]]
    with_events = targets[targets[Columns.USER].isin(events["userid"])]
    held = events[4 * users :]
    assert (
        set(zip(with_events[Columns.USER], with_events[Columns.ITEM], strict=True))
        == set(zip(held["userid"], held["itemid"], strict=True))
    )  # not what their data set holds out, which comes before events that the candidate was fitted on
    assert (
        len(targets) == len(with_events)
    ) == enough  # else of others what the data set holds out
    begins = targets.groupby(Columns.USER)[Columns.TIMESTAMP].min()
    others = rows[~rows[renew.TARGET]]
    assert (others[Columns.TIMESTAMP] <= others[Columns.USER].map(begins)).all()


def test_half_a_data_set_is_refused_before_it_is_trained_on(
    stack: Stack, tmp_path: Path
) -> None:
    former, half = (
        stack.live,
        damaged(stack.settings, tmp_path / "half", lambda rows: rows[::2]),
    )
    with pytest.raises(
        renew.RefusedError,
        match=r"the data set has 2,500 ratings, and .* has 5,000: less than 90%",
    ):
        stack.renew(data=half)
    assert stack.report["verdict"] == "refused"
    assert not artifacts.RATINGS.at(
        stack.settings.service_dir("renewal") / "candidate"
    ).exists()
    assert served(stack, former)


def test_shuffled_labels_are_refused_by_the_gate(stack: Stack, tmp_path: Path) -> None:
    former = stack.live
    with pytest.raises(
        renew.RefusedError,
        match=r"the candidate's NDCG@50 is 0\.\d+, the live release's",
    ):
        stack.renew(data=damaged(stack.settings, tmp_path / "shuffled", shuffled))
    gate = stack.report["gate"]
    assert gate["all"]["high"] < 0
    assert served(stack, former)


def test_a_worse_recipe_is_refused(stack: Stack, tmp_path: Path) -> None:
    former, recipe = stack.live, recipe_called("default").model_dump(mode="json")
    recipe["name"] = "worse"
    recipe["recall"]["candidates"] = 5
    path = tmp_path / "worse.json"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    with pytest.raises(renew.RefusedError, match=r"it may not reach below -0\.\d+"):
        stack.renew(recipe_name=str(path))
    assert served(stack, former)


def test_a_refused_candidate_is_judged_by_another_margin(
    stack: Stack, tmp_path: Path
) -> None:
    """Without training it again, until something other than the margin changes."""
    recipe = recipe_called("default").model_dump(mode="json")
    recipe["name"] = "worse"
    recipe["recall"]["candidates"] = 5
    path = tmp_path / "worse.json"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    for margin in (renew.MARGIN, 0.031):
        with pytest.raises(renew.RefusedError):
            stack.renew(margin, recipe_name=str(path))
    assert len(stack.ran) == len(provenance.STEPS)
    with pytest.raises(renew.RefusedError):
        stack.renew(0.031, recipe_name=str(path))
    assert len(stack.ran) == 2 * len(provenance.STEPS), (
        "the same margin: the next night, on new events"
    )
    settings = stack.settings.model_copy(update={"recipe_name": str(path)})
    stack.settings = settings
    found = stack.renew(1.0)
    assert (found["verdict"], found["gate"]["margin"]) == ("activated", 1.0)
    assert len(stack.ran) == 2 * len(provenance.STEPS)
    assert served(stack, found["candidate"])


def test_a_refused_report_without_its_judge_starts_over(
    stack: Stack, tmp_path: Path
) -> None:
    """As an earlier version has written it."""
    collected(stack.settings, users=160)
    report = {
        "live": stack.live,
        "verdict": "refused",
        "candidate": "x",
        "gate": {"margin": 0.5, "users": 200},
    }
    write_json(stack.settings.service_dir("renewal") / "report.json", report)
    assert stack.renew()["verdict"] == "activated"


@pytest.mark.parametrize(("exposed", "judged_by"), [(40, "unexposed"), (100, "all")])
def test_events_on_shown_items_are_compared_apart(
    stack: Stack, exposed: int, judged_by: str
) -> None:
    """They favour the live release, which chose them: with enough others, these alone decide."""
    collected(stack.settings, users=160, exposed=exposed)
    gate = stack.renew(1.0)["gate"]
    assert (gate["exposed events"], gate["judged by"]) == (exposed, judged_by)
    assert gate["all"]["users"] == gate["unexposed"]["users"] + exposed
    assert str(exposed) in gate["note"]


def test_items_taken_off_a_list_leave_no_gaps() -> None:
    lists = np.array([[3, 1, 2, 0], [2, 3, 1, 4]])
    items = sp.csr_matrix(([1.0, 1.0, 1.0], ([0, 1, 1], [1, 2, 1])), shape=(2, 5))
    assert renew.taken_off(lists, items).tolist() == [[3, 2, 0, 0], [3, 4, 0, 0]]


def test_a_dead_service_is_awaited_without_retraining(stack: Stack) -> None:
    former = stack.live
    collected(stack.settings, users=160)
    stack.fails = ["Triton does not answer"]
    with pytest.raises(StepError, match="Triton does not answer"):
        stack.renew()
    assert stack.live == former
    assert "verdict" not in stack.report
    assert stack.renew()["verdict"] == "activated"
    assert len(stack.ran) == len(provenance.STEPS)
    assert served(stack, stack.report["candidate"])


def test_killed_in_training_it_resumes_at_the_next_step(stack: Stack) -> None:
    collected(stack.settings, users=160)
    stack.killed_after = 4
    with pytest.raises(KeyboardInterrupt):
        stack.renew()
    stack.killed_after = None
    assert stack.renew()["verdict"] == "activated"
    assert stack.ran == [each.path for each in provenance.STEPS]


def test_unusable_training_data_is_read_again(stack: Stack, tmp_path: Path) -> None:
    former, empty = stack.live, tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(StepError, match="holds no data set"):
        stack.renew(data=empty)
    assert served(stack, former)
    assert stack.renew()["verdict"] == "unchanged"


def test_a_release_that_cannot_load_is_refused(stack: Stack) -> None:
    former = stack.live
    collected(stack.settings, users=160)
    stack.fails = ["offline and online disagree"] * renew.TRIES
    for _ in range(renew.TRIES - 1):
        with pytest.raises(StepError, match="disagree"):
            stack.renew()
    with pytest.raises(renew.RefusedError, match=r"disagree.*the last of 3 tries"):
        stack.renew()
    assert served(stack, former)


def test_too_few_users_tell_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected(stack.settings, users=160)
    monkeypatch.setattr(renew, "LEAST_USERS", 1_000)
    with pytest.raises(
        renew.RefusedError,
        match=r"\d+ users liked something new .* and 1000 are needed",
    ):
        stack.renew()


class Tried:
    """Trials, in the place of Redis."""

    def __init__(self) -> None:
        self.found = Trials()
        self.fails: list[Exception] = []

    def begin(self, settings: Settings, release: str) -> None:
        if self.fails:
            raise self.fails.pop(0)
        active, began = "a" * 12, time.time()
        self.found = started(
            release=release,
            active=active,
            published=dict.fromkeys((active, release), ""),
            now=began,
        )

    def end(self, verdict: Any, reason: str = "", detail: str = "") -> None:
        assert self.found.canary is not None
        self.found = changes.end_canary(
            self.found, self.found.canary, verdict, reason, detail, now=time.time()
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
    candidate = renew.renew(stack.settings, canary=True)["candidate"]
    assert (stack.report["verdict"], stack.live) == ("canary", former)
    assert trials.found.canary is not None
    assert trials.found.canary.release == candidate
    with pytest.raises(StepError, match="is still on trial"):
        stack.renew()
    trials.end("activated" if activated else "rolled back")
    stack.live = candidate if activated else former
    renew.settle_canary(stack.settings, previous(stack), stack.report, stack.live)
    assert served(stack, stack.live)


def previous(stack: Stack) -> Path:
    return stack.settings.service_dir("renewal") / "previous"


def test_artifacts_that_are_not_the_canarys_stay(stack: Stack, trials: Tried) -> None:
    """Somebody has trained and gone live since, with `make offline sync`."""
    former = tuple(stack.settings.offline_dir.iterdir())
    shutil.copytree(stack.settings.offline_dir, previous(stack))
    trials.begin(stack.settings, "b" * 12)
    trials.end("activated")
    renew.settle_canary(
        stack.settings,
        previous(stack),
        {"verdict": "canary", "candidate": "b" * 12},
        stack.live,
    )
    assert tuple(stack.settings.offline_dir.iterdir()) == former
    assert previous(stack).exists()
    artifacts.EVENTS.at(
        stack.settings.exchange_dir
    ).unlink()  # of a run of the steps that has not ended
    renew.settle_canary(
        stack.settings,
        previous(stack),
        {"verdict": "canary", "candidate": "b" * 12},
        stack.live,
    )
    assert previous(stack).exists()


@pytest.mark.parametrize("running", ["canary", "experiment"])
def test_a_renewal_that_cannot_begin_its_canary_does_nothing(
    stack: Stack, trials: Tried, running: str
) -> None:
    if running == "canary":
        trials.begin(stack.settings, "b" * 12)
    else:
        trials.found = Trials(experiments=(experiment(),))
    with pytest.raises(TrialError, match=running):
        renew.renew(stack.settings, canary=True)
    assert stack.ran == []


@pytest.mark.parametrize(
    "error", [TrialError("release", "an experiment runs"), KeyboardInterrupt()]
)
def test_a_canary_that_never_began_is_begun_without_training(
    stack: Stack, trials: Tried, error: Exception
) -> None:
    """Also where the renewal was killed just before."""
    collected(stack.settings, users=160)
    trials.fails = [error]
    with pytest.raises(type(error)):
        renew.renew(stack.settings, canary=True)
    assert trials.found.canary is None
    assert renew.renew(stack.settings, canary=True)["verdict"] == "canary"
    assert len(stack.ran) == len(provenance.STEPS)


def test_a_canary_that_cannot_begin_is_refused_in_the_end(
    stack: Stack, trials: Tried
) -> None:
    former = stack.live
    collected(stack.settings, users=160)
    trials.fails = [
        TrialError("release", "an experiment runs") for _ in range(renew.TRIES)
    ]
    for expected in (*[TrialError] * (renew.TRIES - 1), renew.RefusedError):
        with pytest.raises(expected, match="an experiment runs"):
            renew.renew(stack.settings, canary=True)
    assert served(stack, former)


def test_a_rejected_release_is_not_tried_again(
    stack: Stack, trials: Tried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the renewal was killed after the canary had begun."""

    def killed(settings: Settings, release: str) -> None:
        trials.begin(settings, release)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "start_canary", killed)
    former = stack.live
    collected(stack.settings, users=160)
    with pytest.raises(KeyboardInterrupt):
        renew.renew(stack.settings, canary=True)
    assert stack.report["verdict"] == "canary"
    trials.end("rolled back", "errors", "in figures")
    for canary_too in (True, False):
        with pytest.raises(
            renew.RefusedError,
            match=r"was tried: .* rolled back at 5%, errors: in figures",
        ):
            renew.renew(stack.settings, canary=canary_too)
        assert stack.report["verdict"] == "refused"
        assert served(stack, former)
    assert len(trials.found.ended) == 1
    monkeypatch.setattr(commands, "start_canary", trials.begin)
    twin = tmp_path / "twin.json"
    twin.write_text(
        stack.settings.recipe.model_copy(update={"name": "twin"}).model_dump_json(),
        encoding="utf-8",
    )
    assert (
        renew.renew(
            stack.settings.model_copy(update={"recipe_name": str(twin)}), canary=True
        )["verdict"]
        == "canary"
    )


@pytest.mark.parametrize(
    ("verdict", "reason"), [("stopped", ""), ("rolled back", "superseded")]
)
def test_a_canary_that_others_ended_is_tried_again(
    stack: Stack, trials: Tried, verdict: Any, reason: str
) -> None:
    collected(stack.settings, users=160)
    candidate = renew.renew(stack.settings, canary=True)["candidate"]
    trials.end(verdict, reason)
    assert renew.renew(stack.settings, canary=True)["candidate"] == candidate
    assert trials.found.canary is not None


def test_killed_between_two_renames(stack: Stack) -> None:
    folder = stack.settings.service_dir("renewal")
    folder.mkdir(parents=True)
    stack.settings.offline_dir.rename(folder / "previous")
    assert stack.renew()["verdict"] == "unchanged"
    assert stack.settings.offline_dir.exists()


def test_of_two_at_once_the_second_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(
        StepError, match=r"another renewal runs \(process \d+ since 2"
    )
    with renew.locked(tmp_path), refused, renew.locked(tmp_path):
        pass
    with renew.locked(tmp_path):
        pass


def test_other_artifacts_than_those_that_are_live(stack: Stack) -> None:
    stack.live = "0123456789ab"
    with pytest.raises(StepError, match="and 0123456789ab is live"):
        stack.renew()
    stack.live = None  # type: ignore[assignment]
    with pytest.raises(StepError, match="no release is live"):
        stack.renew()


def test_the_data_set_that_was_judged(stack: Stack) -> None:
    dataset = read_dataset(stack.settings.exchange_dir)
    with pytest.raises(
        renew.RefusedError,
        match="the data set is another, and the live release is of shop",
    ):
        renew.expect_size(dataset.model_copy(update={"name": "another"}), dataset)
