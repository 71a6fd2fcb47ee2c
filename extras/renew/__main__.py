"""Retrain on new events, and go live if the candidate is no worse: ``make renew``.

1. events    feedback is exported (`make events`); the newest fifth of what the live release does not know is held back
2. offline   the seven steps run, into a folder of the candidate's own
3. gate      candidate and live release answer by exact search for the newest events of each user, which neither was
             fitted on, and nothing later of that user either; their NDCG@50 is compared in pairs
4. sync      the candidate's artifacts take the place of the live release's, `make sync` loads, checks and goes live

A candidate is refused when its data set has shrunk, when too few users have new events to judge by, and when the
interval of the difference reaches below the margin. The live release answers all the while, and stays live after a
refusal. An interrupted renewal resumes: with the steps that are not done, with the gate, or with sync. A candidate that
the gate refused is judged again, without training, by another margin.

Users react to what they are shown, so feedback on answered lists favours the release that chose them. Items that a user
had from an answer (an event names its recommendation) are therefore compared apart: taken off both lists and off the
targets, they do not judge, as long as enough users liked others.

Reads:  RECSYS_DATA, or the data set in the exchange folder; the log of events and the live pointer in Redis; the
        artifacts of the live release, which have to lie in the exchange folder
Writes: online/renewal/report.json and online/renewal/candidate/ in the exchange folder; once the gate is passed
        offline/ there, whose former content is kept in online/renewal/previous/, and the stores, as `make sync` does
Run:    make renew (margin=0.03: the loss of NDCG@50 that the interval may reach, as a share of the live release's;
        canary=1: publish it and try it on some users, instead of going live)
Expect: the new release is live, or a sentence with the reason: exit code 3 for a refusal, 1 where it can be resumed;
        of make, 2 for both
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset, HoldoutRule
from data_exchange_center.errors import RecsysError
from data_exchange_center.files import write_json, written_in_place
from data_exchange_center.release_parts import (
    OwnIds,
    read_dataset,
    read_own_ids,
    release_of_artifacts,
)
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import comparison
from extras.doctor.__main__ import offline_steps
from extras.events import s1_log_to_parquet
from extras.events.event_parts import EventParts
from offline.data.sequences import sequences
from offline.evaluation import metrics, replay, served
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import without
from offline.feedback import BEGINNING, SCHEMA, merge
from offline.readers import PAST
from offline.step_runner import ROOT, run_steps
from offline_to_online.stores.redis import RedisStore
from online.recommend.outcomes import BadRequestError

log = logging.getLogger(__name__)

HELD_BACK: Final = 0.2  # of the events that the live release was not fitted on
LEAST_KEPT: Final = 0.9  # of the live release's ratings, users and items
LEAST_USERS: Final = 100  # with something to be found
MOST_USERS: Final = 10_000  # in the comparison, drawn with a fixed seed
MARGIN: Final = 0.03
K: Final = 50
TRIES: Final = 3  # of a sync
TARGET: Final = "target"
EXPOSED: Final = "exposed"  # targets that the user had from an answer


class RefusedError(StepError):
    """The candidate must not go live. The message says why."""

    exit_code: ClassVar[int] = 3


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m extras.renew", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--margin", type=float, default=MARGIN, help="default: %(default)s"
    )
    parser.add_argument(
        "--canary",
        action="store_true",
        help="try it on some users first (extras/trials)",
    )
    arguments = parser.parse_args()
    margin = arguments.margin
    if not 0 <= margin < 1:
        parser.error("--margin must be from 0 to below 1")
    with locked(settings.service_dir("renewal")):
        report = renew(settings, margin, canary=arguments.canary)
    print(json.dumps(report, indent=2))  # noqa: T201 (a command speaks to a person)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One renewal at a time; the lock of a killed process is free. Raises StepError for the second."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StepError(
                f"another renewal runs ({file.read()}): wait until it ends"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} since {_now()}")
        file.flush()
        yield


def renew(
    settings: Settings, margin: float = MARGIN, *, canary: bool = False
) -> dict[str, Any]:
    """Run or resume a renewal. Returns its report. Raises RefusedError, and RecsysError where the same call resumes."""
    folder = settings.service_dir("renewal")
    candidate = settings.model_copy(update={"exchange_dir": folder / "candidate"})
    previous, path = folder / "previous", folder / "report.json"
    if (
        not settings.offline_dir.exists() and previous.exists()
    ):  # killed between two renames
        previous.rename(settings.offline_dir)
    live, _ = RedisStore(settings).listed()
    if live is None:
        raise StepError(
            "no release is live, so there is nothing to compare with",
            "Run `make offline sync` first.",
        )
    report: dict[str, Any] = (
        json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    )
    if report.get("verdict") == "canary":
        settle_canary(settings, previous, report, live)
    if canary:
        # a renewal without a canary needs no such extension
        from extras.trials.__main__ import require_no_trial

        require_no_trial(settings)
    # Resume what was killed; after a failed step start over, as it would fail again on the same data
    trained = "candidate" in report or (
        "events" in report and "interrupted" not in report
    )
    gate = report.get("gate", {})
    by_gate = (
        report.get("verdict") == "refused" and gate.get("margin", margin) != margin
    )
    judged = gate.get(
        gate.get("judged by"), {}
    )  # an earlier version's report does not say so
    by_gate = (
        by_gate and judged.get("users", 0) >= LEAST_USERS
    )  # else it is more feedback that is needed
    begun = trained and ("verdict" not in report or (by_gate and "tries" not in report))
    recipe = f"{settings.recipe.name} {hashlib.sha256(settings.recipe.model_dump_json().encode()).hexdigest()[:12]}"
    wanted = {"live": live, "recipe": recipe, "data": str(settings.data)}
    if not (begun and all(report.get(name) == value for name, value in wanted.items())):
        shutil.rmtree(candidate.exchange_dir, ignore_errors=True)
        tried = {name: report[name] for name in ("rejected",) if name in report}
        report = {"started": _now(), **wanted, **tried}
    for name in ("interrupted", "verdict", "reason"):
        report.pop(name, None)
    try:
        _stages(settings, candidate, previous, report, margin, canary=canary)
    except RefusedError as error:
        report |= {"verdict": "refused", "reason": str(error)}
        raise
    except RecsysError as error:
        report["interrupted"] = str(error)
        raise
    finally:
        report["ended"] = _now()
        write_json(path, report)
    shutil.rmtree(candidate.exchange_dir, ignore_errors=True)
    return report


def _stages(
    settings: Settings,
    candidate: Settings,
    previous: Path,
    report: dict[str, Any],
    margin: float,
    *,
    canary: bool,
) -> None:
    """Run the remaining stages of a renewal, and record progress in ``report``."""
    path = settings.service_dir("renewal") / "report.json"
    if "candidate" not in report:
        live = live_settings(settings, report["live"])
        if "events" not in report:
            s1_log_to_parquet.main(settings)
            report["events"] = hold_back(settings, candidate, live)
            write_json(path, report)
        done = {
            step.what for step in offline_steps(candidate) if step.well
        }  # before it was killed
        for step in run_steps(settings, candidate.exchange_dir, done):
            log.info("%s: %.1f s", step["step"], step["seconds"])
            expect_size(
                read_dataset(candidate.exchange_dir), read_dataset(live.exchange_dir)
            )  # from the first step on
        report["candidate"] = release_of_artifacts(candidate).release
        write_json(path, report)
    if report["candidate"] == report["live"]:
        report |= {
            "verdict": "unchanged",
            "reason": "The data, the events and the recipe are those of the release.",
        }
        return
    if report["candidate"] == (rejected := report.get("rejected", {})).get("release"):
        raise RefusedError(
            f"data, events and recipe are the same as those of a release that was tried: {rejected['result']}",
            f"Change one of them, or try it again: make canary release={rejected['release']}.",
        )
    if "gate" not in report:
        live = live_settings(settings, report["live"])
        dataset = read_dataset(live.exchange_dir)
        events = EventParts(settings.events_dir(dataset.base_name)).read()
        report["gate"] = judge(live, candidate, events)
    report["gate"]["margin"] = margin
    expect_no_worse(report["gate"])
    write_json(path, report)
    if (
        candidate.offline_dir.exists()
    ):  # else its artifacts are where the live release's were
        if settings.offline_dir.exists():
            shutil.rmtree(previous, ignore_errors=True)
            settings.offline_dir.rename(previous)
        candidate.offline_dir.rename(settings.offline_dir)
        if (kept := previous / "evaluation").exists():  # for `make evaluate against=`
            shutil.copytree(
                kept, settings.offline_dir / "evaluation", dirs_exist_ok=True
            )
    report["tries"] = report.get("tries", 0) + 1
    write_json(path, report)
    try:
        if canary:
            start_canary(settings, report, path)
        else:
            sync()
    except (
        StepError,
        BadRequestError,
    ) as error:  # the latter of a canary that cannot begin
        if report["tries"] < TRIES:
            raise
        settings.offline_dir.rename(candidate.offline_dir)
        previous.rename(settings.offline_dir)
        raise RefusedError(f"{error} That was the last of {TRIES} tries") from error
    if not canary:
        report |= {
            "verdict": "activated",
            "reason": "It is no worse than the release that was live.",
        }


# --- Events, and the data set


def live_settings(settings: Settings, release: str) -> Settings:
    """Settings whose recipe and artifacts are those of the live release.

    Raises StepError when other artifacts lie in the exchange folder.
    """
    path = settings.service_dir("renewal") / "live_recipe.json"
    with written_in_place(path) as temporary:
        temporary.write_text(
            RedisStore(settings).published(release).manifest.recipe.model_dump_json(),
            "utf-8",
        )
    live = settings.model_copy(update={"recipe_name": str(path)})
    try:
        found = release_of_artifacts(live).release
    except RecsysError as error:
        raise StepError(
            f"the artifacts of live release {release} are not in {settings.offline_dir} ({error})"
        ) from error
    if found != release:
        raise StepError(
            f"the artifacts in {settings.offline_dir} are release {found}, and {release} is live",
            "Run `make sync` to serve them, or `make offline sync` to make new ones.",
        )
    return live


def hold_back(
    settings: Settings, candidate: Settings, live: Settings
) -> dict[str, Any]:
    """Write the exported events for the candidate's steps, without the newest. Returns how many are new and held back.

    Newest: the last `HELD_BACK` of those that the live release was not fitted on, in the order in which the server
    acknowledged them. Users who were forgotten are forgotten in the candidate, too.
    """
    name = read_dataset(live.exchange_dir).base_name
    events = EventParts(settings.events_dir(name)).read()
    ids = ["userid", "eventid"]
    known = pd.MultiIndex.from_frame(artifacts.EVENTS.read(live.exchange_dir)[ids])
    new = events["eventid"].notna() & ~pd.MultiIndex.from_frame(events[ids]).isin(known)
    held = np.flatnonzero(new)[int(np.ceil((1 - HELD_BACK) * new.sum())) :]
    parts = EventParts(candidate.events_dir(name))
    with written_in_place(
        parts.path(0, BEGINNING, BEGINNING)
    ) as temporary:  # all partitions' in one file
        pq.write_table(
            pa.Table.from_pandas(
                events.drop(index=events.index[held]), SCHEMA, preserve_index=False
            ),
            temporary,
        )
    return {"new": int(new.sum()), "held back": len(held)}


def expect_size(found: Dataset, live: Dataset) -> None:
    """Raise RefusedError for a data set that has shrunk, or for another one than the live release's."""
    for name in ("ratings", "users", "items"):
        now, before = found.counts[name], live.counts[name]
        if now < LEAST_KEPT * before:
            raise RefusedError(
                f"the data set has {now:,} {name}, and that of the live release has {before:,}: less than "
                f"{LEAST_KEPT:.0%} are left",
                "If that is meant, put it live with `make offline sync`.",
            )
    if (found.base_name, found.levels) != (live.base_name, live.levels):
        raise RefusedError(
            f"the data set is {found.base_name}, and the live release is of {live.base_name}",
            "Put another data set live with `make offline sync`.",
        )


# --- The gate


def judge(live: Settings, candidate: Settings, events: pd.DataFrame) -> dict[str, Any]:
    """NDCG@50 of both on the events that neither was fitted on, and the paired difference with its interval.

    Of all events, and of those whose item the user did not have from an answer. "judged by" says which decides: the
    latter if `LEAST_USERS` have such.

    ``events``: all that are exported, as `artifacts.EVENTS`.
    """
    rows = newest_events(live, candidate, events)
    found = {
        name: ndcg(of, rows) for name, of in (("candidate", candidate), ("live", live))
    }
    compared = {}
    for which in ("all", "unexposed"):
        both = pd.DataFrame(
            {name: values[which] for name, values in found.items()}
        ).dropna()
        means = {name: float(both[name].mean()) if len(both) else 0.0 for name in found}
        compared[which] = means | comparison.compare(
            both["candidate"].to_numpy(), both["live"].to_numpy()
        )
    targets = rows[rows[TARGET]]
    span = targets[Columns.TIMESTAMP].agg(["min", "max"]).dropna().astype(int)
    exposed, judged_by = int(targets[EXPOSED].sum()), "all"
    note = "No event names a recommendation: whether the live release's own lists led to them is not known."
    if exposed:
        judged_by = (
            "unexposed" if compared["unexposed"]["users"] >= LEAST_USERS else "all"
        )
        weighed = {
            "all": "Too few users liked anything else to leave these out: the comparison favours the live release.",
            "unexposed": "These are left out.",
        }[judged_by]
        note = f"{exposed:,} of {len(targets):,} events are on items of answered lists, which favour it. {weighed}"
    return {
        "metric": f"ndcg@{K}",
        "events": len(targets),
        "exposed events": exposed,
        "span": [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for at in span],
        "note": note,
        "judged by": judged_by,
        **compared,
    }


def expect_no_worse(report: dict[str, Any]) -> None:
    """Raise RefusedError when too few users can be judged by, or when the candidate may be worse than the margin.

    ``report``: of `judge`, with the "margin".
    """
    gate = report[report["judged by"]]
    if gate["users"] < LEAST_USERS:
        raise RefusedError(
            f"{gate['users']:,} users liked something new among the events that neither release was fitted on, and "
            f"{LEAST_USERS} are needed to tell which is better",
            "Collect more feedback, or hold events out ([holdout] in dataset.toml).",
        )
    floor = -report["margin"] * gate["live"]
    if gate["low"] < floor:
        raise RefusedError(
            f"on the newest events of {gate['users']:,} users the candidate's NDCG@{K} is {gate['candidate']:.4f}, the "
            f"live release's {gate['live']:.4f}; the difference is {gate['difference']:+.4f} (95 %: {gate['low']:+.4f} "
            f"to {gate['high']:+.4f}), and it may not reach below {floor:+.4f}"
        )


def newest_events(
    live: Settings, candidate: Settings, events: pd.DataFrame
) -> pd.DataFrame:
    """All events of the users in the comparison, with own ids, by user and time; `TARGET` marks those to predict, and
    `EXPOSED` those among them whose item the user had from an answer.

    A user's targets are the last events, no more than the data set holds out, of those that are later than every event
    of that user that either release was fitted on; later than those of all users, if enough have such. Events of the
    live release's data set are taken from there, and from the candidate's only newer ones: damaged data does not judge
    itself. After a first target only targets follow.
    """
    dataset = read_dataset(live.exchange_dir)
    ratings, users, items = (table.read(live.exchange_dir) for table in artifacts.RAW)
    merged = merge(dataset, ratings, users, items, events)
    ids = read_own_ids(live.exchange_dir), read_own_ids(candidate.exchange_dir)
    people = OwnIds(
        merged.users[Columns.USER].tolist(),
        merged.users[Columns.OWN_ID].tolist(),
        dataset.user_ids,
    )
    rows = _by_own_ids(merged.ratings, people, ids[0].items)
    fitted = []  # of both, each user's last second that was fitted on
    for of, own in zip((live, candidate), ids, strict=True):
        known = _by_own_ids(artifacts.RATINGS.read(of.exchange_dir), *own)
        fitted.append(
            known[known[Columns.SPLIT].isin(PAST)]
            .groupby(Columns.USER)[Columns.TIMESTAMP]
            .max()
        )
    both_users, both_items = (
        {*one.values()} & {*other.values()} for one, other in zip(*ids, strict=True)
    )

    # all known events, then later ones of the candidate's data set (`known`); of these the ones after both fits
    newest = rows.groupby(Columns.USER)[Columns.TIMESTAMP].max()
    later = known[known[Columns.TIMESTAMP] > known[Columns.USER].map(newest)]
    rows = pd.concat([rows, later.drop(columns=Columns.SPLIT)], ignore_index=True)
    rows = rows[rows[Columns.USER].isin(both_users)].sort_values(
        [Columns.USER, Columns.TIMESTAMP], kind="stable"
    )
    last = rows[Columns.USER].map(pd.concat(fitted).groupby(level=0).max()).fillna(-1)
    new = rows[(rows[Columns.TIMESTAMP] > last) & rows[Columns.ITEM].isin(both_items)]
    latest = new[new[Columns.TIMESTAMP] > max(each.max() for each in fitted)]
    if (
        latest.loc[
            latest[Columns.RATING] > dataset.positive_level, Columns.USER
        ].nunique()
        >= LEAST_USERS
    ):
        new = latest
    new = held_out(new, dataset.holdout)

    # sample users, where there are very many
    begins = new.groupby(Columns.USER)[Columns.TIMESTAMP].min()
    begins = begins.sample(min(len(begins), MOST_USERS), random_state=0)
    rows = rows.assign(**{TARGET: rows.index.isin(new.index)})
    first = rows[Columns.USER].map(begins)
    rows = rows[
        rows[TARGET] & first.notna() | (rows[Columns.TIMESTAMP] <= first)
    ].reset_index(drop=True)
    shown = events[events["recommendation"].notna()]
    pairs = pd.MultiIndex.from_arrays(
        [rows[Columns.USER].astype(str), rows[Columns.ITEM].astype(str)]
    )
    was_shown = pairs.isin(pd.MultiIndex.from_frame(shown[["userid", "itemid"]]))
    return rows.assign(**{EXPOSED: rows[TARGET] & was_shown})


def held_out(new: pd.DataFrame, rule: HoldoutRule) -> pd.DataFrame:
    """The events, ordered by user and time, that a holdout by ``rule`` may have of each user: the last ones."""
    users = new.groupby(Columns.USER)
    if rule.longest is None:
        return new[new[Columns.TIMESTAMP] == users[Columns.TIMESTAMP].transform("max")]
    return new[users.cumcount(ascending=False) < rule.longest]


def _by_own_ids(ratings: pd.DataFrame, users: OwnIds, items: OwnIds) -> pd.DataFrame:
    """Ratings with own ids in the place of numbers."""
    own = {
        name: ratings[name].map(dict(ids))
        for name, ids in ((Columns.USER, users), (Columns.ITEM, items))
    }
    kept = [
        name
        for name in (Columns.RATING, Columns.TIMESTAMP, Columns.SPLIT)
        if name in ratings
    ]
    return pd.DataFrame(own | {name: ratings[name] for name in kept})


def ndcg(settings: Settings, rows: pd.DataFrame) -> pd.DataFrame:
    """NDCG@50 of a release's answers at each user's first target, by own id; NaN where nothing new was liked.

    "all": of all targets; "unexposed": without `EXPOSED` items, on the lists and among the targets.
    """
    folder, dataset = settings.exchange_dir, read_dataset(settings.exchange_dir)
    users, items = read_own_ids(folder)
    numbered = rows.assign(
        **{
            Columns.USER: rows[Columns.USER].map(users.numbers),
            Columns.ITEM: rows[Columns.ITEM].map(items.numbers),
        }
    ).dropna(subset=[Columns.ITEM])  # an item that only the other release knows
    numbered = numbered.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable")
    data = sequences(
        numbered,
        list(items),
        dataset.positive_level,
        allows_repeats=dataset.allows_repeats,
    )
    target = numbered[TARGET].to_numpy(np.bool_)
    holdout = replay.holdout_of(data.select(~target), data.select(target))
    lists = holdout.judged(
        served.answers(settings, holdout, stored_events=False).ranked
    )
    exposed = data.select(numbered[EXPOSED].to_numpy(np.bool_)).seen()
    found = {
        "all": metrics.ndcg(lists, holdout.relevance, K),
        "unexposed": metrics.ndcg(
            taken_off(lists, exposed), without(holdout.relevance, exposed), K
        ),
    }
    return pd.DataFrame(found, [users[userid] for userid in data.user_numbers.tolist()])


def taken_off(lists: Lists, items: sp.csr_matrix) -> Lists:
    """(users, k) item codes without each user's ``items``, a (users, items + 1) matrix; 0 pads."""
    gone = metrics.hits(lists, items)
    left = np.where(gone, 0, lists)
    return np.take_along_axis(left, np.argsort(gone, axis=1, kind="stable"), axis=1)


# --- Going live


def start_canary(settings: Settings, report: dict[str, Any], path: Path) -> None:
    """Load, check and publish, then try the release on some users. Raises StepError, CanaryError, ServiceError."""
    from extras.trials.__main__ import start_canary as start

    sync("publish")
    reason = "It is no worse offline; some users try it: make canary status=1."
    report |= {"verdict": "canary", "reason": reason, "canary since": time.time()}
    write_json(
        path, report
    )  # before it begins: a killed renewal must not try a release twice
    start(settings, report["candidate"])


def settle_canary(
    settings: Settings, previous: Path, report: dict[str, Any], live: str
) -> None:
    """After the canary of the last renewal, put the former artifacts back, unless the candidate was activated.

    Notes a candidate that a guardrail rejected in the ``report``. Drops the verdict of one whose canary never began, so
    that the renewal is resumed. Raises StepError while the canary runs.
    """
    from extras.trials.__main__ import trials

    found = trials(settings)
    if found.canary is not None:
        on_trial = f"the release of the last renewal is still on trial: {found.canary}"
        raise StepError(on_trial, "make canary stop=1 ends it.")
    candidate, since = report["candidate"], report.get("canary since", 0)
    if live == candidate:
        return
    tried = [
        each
        for each in found.ended
        if each.release == candidate and each.began >= since
    ]
    if not tried:
        del report["verdict"]
        return
    if tried[0].rejected:
        report["rejected"] = {"release": candidate, "result": str(tried[0])}
    if previous.exists() and _has_artifacts_of(settings, candidate):
        rejected = previous.with_name("rejected")
        shutil.rmtree(rejected, ignore_errors=True)  # of a renewal that was killed
        settings.offline_dir.rename(rejected)
        previous.rename(settings.offline_dir)
        shutil.rmtree(rejected)


def _has_artifacts_of(settings: Settings, release: str) -> bool:
    try:
        return release_of_artifacts(settings).release == release
    except RecsysError:  # of a run of the steps that has not ended
        return False


def sync(target: str = "sync") -> None:
    """Load, check, go live: `make sync`; "publish": without going live. Raises StepError."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE")
    }
    done = subprocess.run(
        ["make", "--no-print-directory", target], cwd=ROOT, env=environment
    )
    if done.returncode:
        raise StepError(
            f"`make {target}` failed, as it says above; the live release answers on. `make renew` tries again."
        )


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    run(main)
