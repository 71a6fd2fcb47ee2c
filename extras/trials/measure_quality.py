"""Measure quality over time: hit rates of served lists, and drift against the training data.

Drift is measured by the population stability index (PSI) of each feature: the sum over bins of (q - p) ln(q / p), for
the shares p of the training data and q of what is served now. It is 0 where they are equal; by custom .1 is a small
shift and .2 one that matters.

Reads   exposures and users' events in Redis; the artifacts of the active release, for drift
Writes  Redis: the report that servers show (`/ml/quality`, `/metrics`, the page's status tab); an earlier one's days
        are kept
Run     make quality
Expect  two tables; a sentence where drift cannot be measured
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import entropy

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.manifest import Manifest
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.published import active_manifest
from extras.trials.exposures import Exposure
from extras.trials.outcomes import hit_rates
from extras.trials.quality import Drift, QualitySettings, Report
from extras.trials.report import table
from extras.trials.store import TrialStore
from offline.readers import PAST
from offline_to_online.stores.base import TIMEOUT_S
from online.clients.redis import RedisUsers

BINS: Final = 10  # of numbers, by the training data's quantiles
# Of a category that have a bin each, the most frequent ones; one more has the others
VALUES: Final = 20
# Values that an index is computed of: fewer differ by chance
FEWEST: Final = 200
_SMOOTHING: Final = 0.5  # added to each bin's count


def measure(settings: Settings, now: float) -> tuple[Report, str]:
    """Measure, store and return the report, and why drift is not in it. Raises NoReleaseError, ServiceError."""
    limits = QualitySettings.load()
    with closing(RedisUsers(settings.redis)) as users:
        manifest = active_manifest(users)
    name = manifest.dataset.base_name
    with closing(TrialStore(settings.redis, TIMEOUT_S)) as store:
        exposures = [each for each in store.exposures() if each.dataset == name]
        events = store.events_of(name, list({each.userid for each in exposures}))
        rates = hit_rates(exposures, events, manifest.dataset, limits.window_s, now)
        drift, problem = [], ""
        try:
            drift = drifts(settings, manifest, exposures, events)
        except (artifacts.ArtifactError, StepError) as error:
            problem = f"{error}"
        report = Report(
            release=manifest.release,
            made=int(now),
            window_s=limits.window_s,
            threshold=limits.threshold,
            hit_rates=rates,
            drift=drift,
        ).after(store.report(name, limits.window_s))
        store.write_report(name, report)
    return report, problem


def drifts(
    settings: Settings,
    manifest: Manifest,
    exposures: Sequence[Exposure],
    events: Mapping[OwnId, Sequence[Event]],
) -> list[Drift]:
    """Drift of the requests to the active release. Raises ArtifactError, StepError."""
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
    new = [each for user in served for each in events[user] if each.timestamp > newest]

    values = [
        dataset.code(each.value, each.type)
        for each in new
        if dataset.event_types.get(each.type) == "rates"
    ]
    found = [drift_of("rating", ratings[Columns.RATING], pd.Series(values))]
    of_users = artifacts.USER_FEATURES.read(folder).set_index(Columns.USER)
    of_items = artifacts.ITEM_FEATURES.read(folder).set_index(Columns.ITEM)
    numbers = [users.numbers.get(user, 0) for user in served]
    item_numbers = [items.numbers.get(each.itemid, 0) for each in new]
    for features, training, now in (
        (of_users, of_users.index, numbers),
        (of_items, ratings[Columns.ITEM], item_numbers),
    ):
        for name, column in features.items():
            both = column.reindex(training), column.reindex(now)
            found.append(drift_of(f"{name}", *both))
    there = [each for each in found if each is not None]
    return sorted(there, key=lambda each: -each.psi)


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
    p, q = training + _SMOOTHING, current + _SMOOTHING
    return float(entropy(q, p) + entropy(p, q))  # of shares: it divides by the sums


def show(report: Report, problem: str, console: Console) -> None:
    """Print a report as tables."""
    rates = [each.model_dump() for each in report.hit_rates]
    title = f"hits: lists with a liked item within {report.window_s} s"
    console.print(table(title, rates))
    if report.drift:
        title = f"drift from {report.release}; above {report.threshold:g} it matters"
        console.print(table(title, [each.model_dump() for each in report.drift]))
    else:
        console.print(problem or f"No drift: {FEWEST} users, or events, are needed.")
