"""Rating prediction, the source's headline figure: AUC with its columns, and with more from a user's earlier ratings.

The ranker is the source's DeepFM. Settings are compared on the validation part of the training rows, and so are parts
of the added columns; the best settings of each width are then fitted once on all training rows, and the test rows read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import SOURCE_DEEPFM, DeepFMRecipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline import published
from offline.data.samples import RatedPairs
from offline.data.sequences import Sequences
from offline.data.split import positions, validation_mask
from offline.evaluation import metrics
from offline.models.deepfm import DeepFM, DeepFMConfig
from offline.models.training import Rows, predict, train_on_pairs
from offline.readers import read_inputs, read_rated_pairs
from research.experiments import affinity, neighbours
from research.experiments.changes import Change, changed

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Scores = dict[str, float]

# Against the source's DeepFM.
SHORT: Change = {"epochs": 3, "learning_rate": 0.006}
SETTINGS: tuple[Change, ...] = (
    {},
    SHORT,
    {**SHORT, "epochs": 5},
    {**SHORT, "epochs": 5, "weight_decay": 2e-5},
    {**SHORT, "epochs": 5, "weight_decay": 2e-5, "hidden": (128, 64)},
    {**SHORT, "epochs": 5, "weight_decay": 2e-5, "dropout": 0.1},
    {**SHORT, "epochs": 6, "weight_decay": 3e-5},
)
PARTS = (("neighbours", neighbours.COLUMNS), ("factors", affinity.FACTOR_COLUMNS))
LEAST_AUC = 0.835  # on the test rows of MovieLens-1M, with the added columns


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to fit and to judge on, of every train and test rating; ``added`` was fitted on the rows of ``fit``.

    Attributes:
        pairs: the source's columns.
        users: (rows,) position of each row's user.
        added: (rows, `affinity.COLUMNS`).
        fit, judge: (rows,) disjoint.
    """

    pairs: RatedPairs
    users: NDArray[np.int64]
    added: Float32
    fit: Mask
    judge: Mask


def ratings(settings: Settings) -> dict[str, Any]:
    """What was compared on validation, and validation and test scores of the best settings of both widths.

    Raises StepError when MovieLens-1M's test AUC stays below `LEAST_AUC`.
    """
    seconds: dict[str, float] = {}
    pairs, past = read_rated_pairs(settings), read_inputs(settings).data
    trained = (pairs.ratings[Columns.SPLIT] == Split.TRAIN).to_numpy()
    held_out = np.zeros_like(trained)
    held_out[trained] = validation_mask(pairs.ratings.loc[trained, Columns.USER], settings.recipe.data.validation_share)
    source, width = pairs.spec.width, pairs.spec.width + len(affinity.COLUMNS)
    tables: dict[int, Sequence[str]] = {source: (), width: affinity.COLUMNS}

    choose = _problem(pairs, past, trained & ~held_out, held_out, seconds, "columns, validation")
    with _timed("comparisons", seconds):
        compared = {str(columns): compare(choose, names, SETTINGS) for columns, names in tables.items()}
        best = compared[str(width)][0]["change"]
        parts = {name: {"columns": source + len(names), **compare(choose, names, [best])[0]} for name, names in PARTS}
    report = _problem(pairs, past, trained, ~trained, seconds, "columns, test")
    found = {str(columns): _reported(report, names, compared[str(columns)][0]) for columns, names in tables.items()}
    _expect(artifacts.DATASET.read(settings.exchange_dir)["name"], found[str(width)]["test"]["auc"])
    return {"columns": list(affinity.COLUMNS), **found, "parts": parts, "compared": compared, "seconds": seconds}


def compare(problem: Problem, names: Sequence[str], changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Scores of every change with the added columns ``names``, best AUC first."""
    runs = []
    for change in changes:
        scores = judged(problem, names, changed(SOURCE_DEEPFM, change))
        log.info("%d added columns, %s: validation %s", len(names), change, scores)
        runs.append({"change": change, "validation": scores})
    return sorted(runs, key=lambda run: -run["validation"]["auc"])


def judged(problem: Problem, names: Sequence[str], recipe: DeepFMRecipe) -> Scores:
    """Scores on the rows to judge of a model fitted on those to fit, with the added columns ``names``."""
    inputs, labels = _inputs(problem, names), problem.pairs.ratings[Columns.LABEL].to_numpy(np.float32)
    config = DeepFMConfig.of(problem.pairs.spec, recipe)
    config = config.model_copy(update={"n_dense": config.n_dense + len(names)})
    data = Rows(torch.from_numpy(inputs), torch.from_numpy(labels))
    model, _ = train_on_pairs(
        lambda: DeepFM(config), data.take(problem.fit), recipe.train, {}, f"{config.width} columns"
    )
    judge = data.take(problem.judge)
    return scores_of(problem.users[problem.judge], predict(model, judge.inputs), judge.labels.numpy())


def scores_of(users: NDArray[np.int64], scores: Float32, labels: Float32) -> Scores:
    """AUC over all rows; GAUC; the mean AUC over users with both labels, equally weighted. ``users`` sorted."""
    logits, answers = by_user(users, scores), by_user(users, labels)
    found = {
        "auc": metrics.auc(scores.astype(np.float64), labels.astype(np.float64)),
        "gauc": metrics.gauc(logits, answers),
        "user_auc": float(np.nanmean(metrics.user_auc(logits, answers))),
    }
    return {name: round(value, 5) for name, value in found.items()}


def by_user(users: NDArray[np.int64], values: Float32) -> NDArray[np.float64]:
    """(rows,) values in the order of sorted ``users`` -> (users, most rows of one), NaN where a user has fewer."""
    position, size = positions(pd.Series(users))
    table = np.full((len(np.unique(users)), size.max()), np.nan)
    table[np.unique(users, return_inverse=True)[1], position] = values
    return table


def _reported(problem: Problem, names: Sequence[str], chosen: dict[str, Any]) -> dict[str, Any]:
    """The chosen settings, and their scores on validation and on the rows of ``problem``."""
    recipe = changed(SOURCE_DEEPFM, chosen["change"])
    test = judged(problem, names, recipe)
    log.info("%d added columns, test: %s", len(names), test)
    return {"settings": recipe.model_dump(mode="json"), "validation": chosen["validation"], "test": test}


def _expect(dataset: str, auc: float) -> None:
    if dataset == published.ML_1M and auc < LEAST_AUC:
        raise StepError(f"rating prediction: test AUC {auc:.4f} is below the {LEAST_AUC} that these columns reach.")


def _problem(
    pairs: RatedPairs, past: Sequences, fit: Mask, judge: Mask, seconds: dict[str, float], title: str
) -> Problem:
    with _timed(title, seconds):
        return Problem(pairs, past.users, affinity.point_in_time(past, fit), fit, judge)


@contextmanager
def _timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[what] = round(time.perf_counter() - begin, 1)


def _inputs(problem: Problem, names: Sequence[str]) -> Float32:
    """The source's columns and, standardized by the rows to fit, the added ones."""
    added = problem.added[:, [affinity.COLUMNS.index(name) for name in names]]
    centre, spread = added[problem.fit].mean(axis=0), added[problem.fit].std(axis=0)
    spread[spread == 0] = 1
    return np.hstack([problem.pairs.rows, (added - centre) / spread]).astype(np.float32)
