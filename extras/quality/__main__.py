"""Measure quality over time: hit rates of served lists, and drift against the training data.

Reads   exposures and users' events in Redis; the artifacts of the active release, for drift; a running server, for
        the scores of users of the training data
Writes  Redis: the report that servers show (`/ml/quality`, `/metrics`, the page's status tab); an earlier one's days
        are kept. data_exchange_center/online/quality/<release>.json: scores of users of the training data
Run     make quality (window=3600: seconds after a list in which a liked item makes it a hit)
Expect  two tables; a sentence where drift cannot be measured
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final

import pandas as pd
from rich.console import Console
from rich.table import Table

from data_exchange_center import artifacts, steps
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.files import write_json
from data_exchange_center.manifest import Manifest
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.client import Client, ServerError
from extras.experiments.store import Exposure
from extras.quality.hook import top_score
from extras.quality.measures import FEWEST, drift_of, hit_rates, merged
from extras.quality.store import (
    Drift,
    QualitySettings,
    QualityStore,
    Report,
    ServedStore,
)
from offline.readers import PAST
from offline_to_online.stores.base import TIMEOUT_S
from online.clients.redis import RedisUsers
from online.recommend.loaded_release import read_published

REFERENCE_USERS: Final = (
    300  # of the training data, whose lists' scores are the reference
)


def measure(settings: Settings, window_s: int, now: float) -> tuple[Report, str]:
    """Measure, store and return the report, and why drift is not in it, or not all. Raises ServiceError, StepError."""
    with closing(RedisUsers(settings.redis)) as users:
        live = users.listed()[0]
        published = read_published(users, live) if live else None
    if published is None:
        raise StepError(
            "no release is active, so nothing was served",
            "Run `make offline sync` first.",
        )
    manifest = published.manifest
    dataset = manifest.dataset
    with closing(ServedStore(settings.redis, TIMEOUT_S)) as log:
        exposures = [
            each for each in log.exposures("") if each.dataset == dataset.base_name
        ]
        events = log.events_of(
            dataset.base_name, list({each.userid for each in exposures})
        )
    rates = hit_rates(exposures, events, dataset, window_s, now)
    try:
        drift, problem = drifts(settings, manifest, exposures, events)
    except (artifacts.ArtifactError, StepError) as error:
        drift, problem = [], f"{error}"
    report = Report(
        release=manifest.release,
        made=int(now),
        window_s=window_s,
        threshold=QualitySettings.load().threshold,
        hit_rates=rates,
        drift=drift,
    )
    with closing(QualityStore(settings.redis)) as store:
        report = merged(store.call((dataset.base_name, window_s)), report)
        store.write(dataset.base_name, report)
    return report, problem


def drifts(
    settings: Settings,
    manifest: Manifest,
    exposures: Sequence[Exposure],
    events: Mapping[OwnId, Sequence[Event]],
) -> tuple[list[Drift], str]:
    """Drift of the requests to the active release, and why the scores' lacks. Raises ArtifactError, StepError."""
    settings = settings.made_of(manifest.dataset.base_name, manifest.recipe)
    folder = settings.artifacts_dir
    if (made := release_of_artifacts(settings).release) != manifest.release:
        raise StepError(
            f"the artifacts are of release {made} and {manifest.release} is active, so drift is not measured"
        )
    users, items = read_own_ids(folder)
    ratings = artifacts.RATINGS.read(folder)
    newest = ratings[
        Columns.TIMESTAMP
    ].max()  # events until then may be among the ratings
    ratings = ratings[ratings[Columns.SPLIT].isin(PAST)]
    answers = [each for each in exposures if each.release == manifest.release]
    served = list(
        dict.fromkeys(each.userid for each in answers)
    )  # each user once, however many requests there were
    new = [each for user in served for each in events[user] if each.timestamp > newest]
    rated = [
        each for each in new if manifest.dataset.event_types.get(each.type) == "rates"
    ]
    sizes, more = (
        ratings.groupby(Columns.USER).size(),
        Counter(each.userid for each in rated),
    )
    current_sizes = pd.Series(
        [sizes.get(users.numbers.get(user), 0) + more[user] for user in served]
    )
    codes = pd.Series([manifest.dataset.code(each.value) for each in rated])
    scores = pd.Series([each.score for each in answers if each.score is not None])
    user_features, item_features = (
        table.read(folder)
        for table in (artifacts.USER_FEATURES, artifacts.ITEM_FEATURES)
    )
    of_items = [items.numbers.get(each.itemid, 0) for each in new]
    found = [
        *_features(
            user_features.set_index(Columns.USER),
            None,
            [users.numbers.get(user, 0) for user in served],
        ),
        *_features(
            item_features.set_index(Columns.ITEM), ratings[Columns.ITEM], of_items
        ),
        drift_of("events of a user", sizes, current_sizes),
        drift_of("rating", ratings[Columns.RATING], codes),
    ]
    problem = ""
    if len(scores) >= FEWEST:
        try:
            found.append(
                drift_of(
                    "score",
                    _reference_scores(settings, manifest.release, list(users.values())),
                    scores,
                )
            )
        except (ServerError, StepError) as error:
            problem = f"The scores' drift is not measured: {error}"
    return [each for each in found if each is not None], problem


def _features(
    table: pd.DataFrame, training: pd.Series | None, current: Sequence[int]
) -> Iterator[Drift | None]:
    """Drift of each column. ``training``, ``current``: numbers, 0: unknown; None: each row once."""
    before = table if training is None else table.reindex(training)
    now = table.reindex(list(current))
    for name in table:
        yield drift_of(str(name), before[name], now[name])


def _reference_scores(
    settings: Settings, release: str, users: list[OwnId]
) -> pd.Series:
    """Scores of the first items of the lists of some users of the training data, requested when first needed.

    Raises ServerError; StepError if too many lists are degraded.
    """
    path = settings.service_dir("quality") / f"{release}.json"
    if not path.exists():
        chosen = random.Random(0).sample(users, min(REFERENCE_USERS, len(users)))  # noqa: S311 (no secret)
        with Client.of(settings.server) as server:
            answers = [
                server.recommend(user, release=release, size=1) for user in chosen
            ]
        scores = [score for each in answers if (score := top_score(each)) is not None]
        if len(scores) < min(FEWEST, len(chosen)):
            raise StepError(
                f"{len(chosen) - len(scores)} of {len(chosen)} lists of the training data are degraded"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob("*.json"):  # of earlier releases
            other.unlink()
        write_json(path, {"scores": scores})
    return pd.Series(
        json.loads(path.read_text(encoding="utf-8"))["scores"], dtype=float
    )


def show(report: Report, problem: str, console: Console) -> None:
    """Print a report as tables."""
    table = Table(
        "release",
        "day (UTC)",
        "lists",
        "hit rate",
        title=f"lists with a liked item within {report.window_s} s",
    )
    for each in report.hit_rates:
        table.add_row(
            each.release, each.day, f"{each.lists:,}", f"{each.hits / each.lists:.4f}"
        )
    console.print(table)
    if report.drift:
        drift = Table(
            "feature",
            "PSI",
            "values",
            title=f"drift from the training data of {report.release}",
        )
        for row in report.drift:
            mark = " [bold red]drifted[/]" if row.psi > report.threshold else ""
            drift.add_row(row.feature, f"{row.psi:.3f}{mark}", f"{row.values:,}")
        console.print(drift)
    if problem:
        console.print(
            f"{problem}{' What an earlier run has measured is kept.' if report.drift else ''}"
        )
    elif not report.drift:
        console.print(f"No drift: {FEWEST} users, or events, are needed.")


def main(settings: Settings) -> None:
    """Raises ServiceError, StepError."""
    parser = argparse.ArgumentParser(
        prog="python -m extras.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--window",
        type=int,
        default=QualitySettings.load().window_s,
        help="default: %(default)s",
    )
    window_s = parser.parse_args().window
    if window_s < 1:
        parser.error("--window must be at least 1 second")
    show(*measure(settings, window_s, time.time()), Console())


if __name__ == "__main__":
    steps.run(main)
