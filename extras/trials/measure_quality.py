"""Measure quality over time: hit rates of served lists, and drift against the training data.

Drift is measured by the population stability index (PSI) of each feature: the sum over bins of (q - p) ln(q / p), for
the shares p of the training data and q of what is served now. It is 0 where they are equal; by custom .1 is a small
shift and .2 one that matters.

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
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
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
from extras.events.log import SERVED
from extras.trials.exposures import Exposure, top_score
from extras.trials.outcomes import hit_rates
from extras.trials.quality import Drift, QualitySettings, Report
from extras.trials.store import TrialStore
from offline.readers import PAST
from offline_to_online.stores.base import TIMEOUT_S
from online.clients.redis import RedisUsers
from online.recommend.loaded_release import read_published

# Of the training data, whose lists' scores are the reference
REFERENCE_USERS: Final = 300
BINS: Final = 10  # of numbers, by the training data's quantiles
# Of a category that have a bin each, the most frequent ones; one more has the others
VALUES: Final = 20
# Values that an index is computed of: fewer differ by chance
FEWEST: Final = 200
_SMOOTHING: Final = 0.5  # added to each bin's count


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
    name = manifest.dataset.base_name
    with closing(TrialStore(settings.redis, TIMEOUT_S)) as store:
        exposures = [
            each for each in store.exposures(stream=SERVED) if each.dataset == name
        ]
        events = store.events_of(name, list({each.userid for each in exposures}))
        rates = hit_rates(exposures, events, manifest.dataset, window_s, now)
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
        ).after(store.report(name, window_s))
        store.write_report(name, report)
    return report, problem


def drifts(
    settings: Settings,
    manifest: Manifest,
    exposures: Sequence[Exposure],
    events: Mapping[OwnId, Sequence[Event]],
) -> tuple[list[Drift], str]:
    """Drift of the requests to the active release, and why the scores' lacks. Raises ArtifactError, StepError."""
    dataset = manifest.dataset
    settings = settings.made_of(dataset.base_name, manifest.recipe)
    folder = settings.artifacts_dir
    made = release_of_artifacts(settings).release
    if made != manifest.release:
        raise StepError(
            f"the artifacts are of release {made} and {manifest.release} is active, so drift is not measured"
        )
    users, items = read_own_ids(folder)
    ratings = artifacts.RATINGS.read(folder)
    # events until then may be among the ratings
    newest = ratings[Columns.TIMESTAMP].max()
    ratings = ratings[ratings[Columns.SPLIT].isin(PAST)]
    answers = [each for each in exposures if each.release == manifest.release]
    # each user once, however many requests there were
    served = list(dict.fromkeys(each.userid for each in answers))
    numbers = [users.numbers.get(user, 0) for user in served]
    new = [each for user in served for each in events[user] if each.timestamp > newest]
    rated = [each for each in new if dataset.event_types.get(each.type) == "rates"]
    item_numbers = [items.numbers.get(each.itemid, 0) for each in new]

    training: dict[str, pd.Series] = {}
    current: dict[str, pd.Series] = {}
    of_users = artifacts.USER_FEATURES.read(folder).set_index(Columns.USER)
    of_items = artifacts.ITEM_FEATURES.read(folder).set_index(Columns.ITEM)
    for feature in map(str, of_users):
        training[feature] = of_users[feature]
        current[feature] = of_users[feature].reindex(numbers)
    for feature in map(str, of_items):
        training[feature] = of_items[feature].reindex(ratings[Columns.ITEM])
        current[feature] = of_items[feature].reindex(item_numbers)
    sizes = ratings.groupby(Columns.USER).size()
    more = Counter(each.userid for each in rated)
    training["events of a user"] = sizes
    current["events of a user"] = pd.Series(
        [
            sizes.get(number, 0) + more[user]
            for user, number in zip(served, numbers, strict=True)
        ]
    )
    training["rating"] = ratings[Columns.RATING]
    current["rating"] = pd.Series([dataset.code(each.value) for each in rated])
    problem = ""
    scores = pd.Series([each.score for each in answers if each.score is not None])
    if len(scores) >= FEWEST:
        try:
            training["score"] = _reference_scores(
                settings, manifest.release, list(users.values())
            )
            current["score"] = scores
        except (ServerError, StepError) as error:
            problem = f"The scores' drift is not measured: {error}"
    found = [drift_of(name, training[name], current[name]) for name in training]
    return [each for each in found if each is not None], problem


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


def drift_of(feature: str, training: pd.Series, current: pd.Series) -> Drift | None:
    """A feature's index; None where there are too few current values to tell.

    Numbers with many values are binned by the training data's quantiles, others by value. Rare values, and those that
    are not there (a feature of an unknown user), share a bin.
    """
    if len(current) < FEWEST or training.empty:
        return None
    if pd.api.types.is_numeric_dtype(training) and training.nunique() > VALUES:
        edges = np.unique(training.quantile(np.arange(1, BINS) / BINS))
        bins = [
            np.where(each.isna(), 0, np.searchsorted(edges, each, side="right") + 1)
            for each in (training, current)
        ]
    else:
        known = training.value_counts().index[:VALUES]
        bins = [known.get_indexer(pd.Index(each)) + 1 for each in (training, current)]
    length = max(each.max() for each in bins) + 1
    before, now = (np.bincount(each, minlength=length) for each in bins)
    used = before + now > 0
    index = round(psi(before[used], now[used]), 4)
    return Drift(feature=feature, psi=index, values=len(current))


def psi(training: NDArray[Any], current: NDArray[Any]) -> float:
    """The index of two counts, bin by bin; a bin that one side lacks does not make it infinite."""
    p, q = (
        (counts + _SMOOTHING) / (counts.sum() + _SMOOTHING * len(counts))
        for counts in (training, current)
    )
    return float(np.sum((q - p) * np.log(q / p)))


def show(report: Report, problem: str, console: Console) -> None:
    """Print a report as tables."""
    table = Table("release", "day (UTC)", "lists", "hit rate")
    table.title = f"lists with a liked item within {report.window_s} s"
    for each in report.hit_rates:
        rate = f"{each.hits / each.lists:.4f}"
        table.add_row(each.release, each.day, f"{each.lists:,}", rate)
    console.print(table)
    if report.drift:
        drift = Table("feature", "PSI", "values")
        drift.title = f"drift from the training data of {report.release}"
        for row in report.drift:
            mark = " [bold red]drifted[/]" if row.psi > report.threshold else ""
            drift.add_row(row.feature, f"{row.psi:.3f}{mark}", f"{row.values:,}")
        console.print(drift)
    if problem:
        kept = " What an earlier run has measured is kept." if report.drift else ""
        console.print(f"{problem}{kept}")
    elif not report.drift:
        console.print(f"No drift: {FEWEST} users, or events, are needed.")


def main(settings: Settings) -> None:
    """Raises ServiceError, StepError."""
    parser = argparse.ArgumentParser(
        prog="python -m extras.trials.measure_quality",
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
