"""Retrain on new events, and go live if the candidate is no worse: ``make renew``.

1. events    feedback is exported (`make events`); the newest fifth of what the live release does not know is held back
2. offline   the seven steps run, into a folder of the candidate's own
3. gate      both releases answer for the newest events of each user, and NDCG@50 is compared in pairs (gate.py)
4. sync      the candidate's artifacts take the place of the live release's, `make sync` loads, checks and goes live

A candidate is refused when its data set has shrunk, when too few users have new events to judge by, and when the
interval of the difference reaches below the margin. The live release answers all the while. After a refusal or an
error it stays live, with its artifacts where they were, and the next renewal trains again.

Reads:  RECSYS_DATA, or the data set in the exchange folder; the log of events and the live pointer in Redis; the
        artifacts of the live release, which have to lie in the exchange folder
Writes: online/renewal/report.json and online/renewal/candidate/ in the exchange folder; once the gate is passed the
        artifacts of the recipe, the former of which are kept in online/renewal/previous/, and the stores, as by
        `make sync`
Run:    make renew (margin=0.03: the loss of NDCG@50 that the interval may reach, as a share of the live release's;
        canary=1: publish it and try it on some users, instead of going live)
Expect: the new release is live, or a sentence with the reason: exit code 3 for a refusal, 1 for an error;
        of make, 2 for both
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_exchange_center import artifacts
from data_exchange_center.dataset import Dataset
from data_exchange_center.errors import RecsysError
from data_exchange_center.files import write_json, written_in_place
from data_exchange_center.release_parts import read_dataset, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.events import s1_log_to_parquet
from extras.events.event_parts import EventParts
from extras.renew.gate import RefusedError, expect_no_worse, judge
from offline.feedback import BEGINNING, SCHEMA, exported
from offline.step_runner import ROOT, run_steps
from offline_to_online.stores.redis import RedisStore
from online.recommend.outcomes import BadRequestError

log = logging.getLogger(__name__)

HELD_BACK: Final = 0.2  # of the events that the live release was not fitted on
LEAST_KEPT: Final = 0.9  # of the live release's ratings, users and items
MARGIN: Final = 0.03


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
    with locked(settings.service_dir("renewal")):
        report = renew(settings, arguments.margin, canary=arguments.canary)
    print(json.dumps(report, indent=2))  # noqa: T201 (a command speaks to a person)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One renewal at a time; the lock of a killed process is free. Raises StepError for the second."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StepError("another renewal runs: wait until it ends") from error
        yield


def renew(
    settings: Settings, margin: float = MARGIN, *, canary: bool = False
) -> dict[str, Any]:
    """Run a renewal. Returns its report. Raises RefusedError, and RecsysError after which the same call tries again."""
    folder = settings.service_dir("renewal")
    path = folder / "report.json"
    last = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    live, _ = RedisStore(settings).listed()
    if live is None:
        raise StepError(
            "no release is live, so there is nothing to compare with",
            "Run `make offline sync` first.",
        )
    tried = last.get("canary")
    rejection = rejected_by_canary(settings, tried) if tried else None
    if canary:
        # a renewal without a canary needs no such extension
        from extras.trials.__main__ import trials
        from extras.trials.changes import require_no_trial

        require_no_trial(trials(settings))
    put_back(settings, last.get("candidate"), live)
    of_live = live_settings(settings, live)

    candidate = settings.model_copy(update={"exchange_dir": folder / "candidate"})
    shutil.rmtree(candidate.exchange_dir, ignore_errors=True)  # of a killed renewal
    report: dict[str, Any] = {"live": live, "canary": tried}
    try:
        events = train(settings, candidate, of_live, report)
        if report["candidate"] == live:
            report["verdict"] = "unchanged"
            report["reason"] = "Data, events and recipe are those of the release."
        elif report["candidate"] == tried and rejection:
            raise RefusedError(
                f"data, events and recipe are the same as those of a release that was tried: {rejection}",
                f"Change one of them, or try it again: make canary release={tried}.",
            )
        else:
            report["gate"] = judge(of_live, candidate, events) | {"margin": margin}
            expect_no_worse(report["gate"])
            go_live(settings, candidate, report, canary=canary)
    except RefusedError as error:
        report |= {"verdict": "refused", "reason": str(error)}
        raise
    finally:
        write_json(path, report)
        shutil.rmtree(candidate.exchange_dir, ignore_errors=True)
    return report


# --- Events and training


def train(
    settings: Settings, candidate: Settings, live: Settings, report: dict[str, Any]
) -> pd.DataFrame:
    """Export the events, hold back the newest, run the steps. Returns all events. Raises RefusedError, StepError."""
    s1_log_to_parquet.main(settings)
    dataset = read_dataset(live.artifacts_dir)
    events = exported(settings.events_dir(dataset.base_name))
    report["events"] = hold_back(events, candidate, live)
    for step in run_steps(settings, candidate.exchange_dir):
        log.info("%s: %.1f s", step["step"], step["seconds"])
        expect_size(read_dataset(candidate.artifacts_dir), dataset)  # from the first on
    report["candidate"] = release_of_artifacts(candidate).release
    return events


def live_settings(settings: Settings, release: str) -> Settings:
    """Settings whose recipe and artifacts are those of the live release.

    Raises StepError when other artifacts lie in their folder.
    """
    manifest = RedisStore(settings).published(release).manifest
    live = settings.made_of(manifest.dataset.base_name, manifest.recipe)
    found = _release_of(live)
    if found != release:
        raise StepError(
            f"release {release} is live, and {live.artifacts_dir} has the artifacts of {found or 'none'}",
            "Run `make sync` to serve them, or `make offline sync` to make new ones.",
        )
    return live


def _release_of(settings: Settings) -> str | None:
    try:
        return release_of_artifacts(settings).release
    except RecsysError:  # of a run of the steps that has not ended
        return None


def hold_back(
    events: pd.DataFrame, candidate: Settings, live: Settings
) -> dict[str, Any]:
    """Write the exported events for the candidate's steps, without the newest. Returns how many are new and held back.

    Newest: the last `HELD_BACK` of those that the live release was not fitted on, in the order in which the server
    acknowledged them. Users who were forgotten are forgotten in the candidate, too.
    """
    ids = ["userid", "eventid"]
    known = pd.MultiIndex.from_frame(artifacts.EVENTS.read(live.artifacts_dir)[ids])
    new = events["eventid"].notna() & ~pd.MultiIndex.from_frame(events[ids]).isin(known)
    held = np.flatnonzero(new)[int(np.ceil((1 - HELD_BACK) * new.sum())) :]
    rest = events.drop(index=events.index[held])
    table = pa.Table.from_pandas(rest, SCHEMA, preserve_index=False)
    # all partitions' in one file
    name = read_dataset(live.artifacts_dir).base_name
    parts = EventParts(candidate.events_dir(name))
    with written_in_place(parts.path(0, BEGINNING, BEGINNING)) as temporary:
        pq.write_table(table, temporary)
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


# --- Going live


def go_live(
    settings: Settings, candidate: Settings, report: dict[str, Any], *, canary: bool
) -> None:
    """Let the candidate's artifacts take the place of those of the same recipe, and load them.

    After an error the former artifacts are put back; of a killed renewal, the next one does so.
    """
    path = settings.service_dir("renewal") / "report.json"
    write_json(path, report)
    # the data set in use is now the candidate's
    raw = settings.offline_dir / "raw"
    shutil.copytree(candidate.offline_dir / "raw", raw, dirs_exist_ok=True)
    made = candidate.artifacts_dir
    place = settings.exchange_dir / made.relative_to(candidate.exchange_dir)
    place.parent.mkdir(parents=True, exist_ok=True)
    previous = previous_dir(settings)
    shutil.rmtree(previous, ignore_errors=True)
    if place.exists():
        previous.parent.mkdir(parents=True, exist_ok=True)
        place.rename(previous)
    made.rename(place)
    try:
        if canary:
            start_canary(settings, report, path)
        else:
            sync()
            report["verdict"] = "activated"
            report["reason"] = "It is no worse than the release that was live."
    except (StepError, BadRequestError):  # the latter of a canary that cannot begin
        report.pop("verdict", None)
        put_back(settings, report["candidate"], report["live"])
        raise


def previous_dir(settings: Settings) -> Path:
    """The artifacts of this data set and recipe before the last renewal."""
    place = settings.artifacts_dir.relative_to(settings.exchange_dir)
    return settings.service_dir("renewal") / "previous" / place


def put_back(settings: Settings, candidate: str | None, live: str) -> None:
    """Put the live release's artifacts back, where those of a ``candidate`` that is not live took their place."""
    previous = previous_dir(settings)
    if not previous.exists() or candidate == live:
        return
    if settings.artifacts_dir.exists():  # else a renewal was killed between two renames
        if candidate is None or _release_of(settings) != candidate:
            return
        rejected = settings.service_dir("renewal") / "rejected"
        shutil.rmtree(rejected, ignore_errors=True)
        settings.artifacts_dir.rename(rejected)
        shutil.rmtree(rejected)
    previous.rename(settings.artifacts_dir)


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


# --- Canaries


def start_canary(settings: Settings, report: dict[str, Any], path: Path) -> None:
    """Load, check and publish, then try the release on some users. Raises StepError, TrialError, ServiceError."""
    from extras.trials.__main__ import start_canary as start

    sync("publish")
    report["canary"] = report["candidate"]
    report["verdict"] = "canary"
    report["reason"] = "Some users try it: make canary status=1."
    write_json(path, report)  # a killed renewal must not try a release twice
    start(settings, report["candidate"])


def rejected_by_canary(settings: Settings, release: str) -> str | None:
    """How the last canary of a release ended, if a guardrail rejected it. Raises StepError while it is on trial."""
    from extras.trials.__main__ import trials

    found = trials(settings)
    running = found.canary
    if running is not None and running.release == release:
        raise StepError(
            f"the release of a former renewal is still on trial: {running}",
            "make canary stop=1 ends it.",
        )
    for trial in found.ended:
        if trial.release == release:
            return str(trial) if trial.verdict == "rolled back" else None
    return None


if __name__ == "__main__":
    run(main)
