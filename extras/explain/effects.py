"""What moves the ranking model: its score of an item, against its score with one thing taken away.

Occlusion, by the model that serves: a column of the items' side or of recall is replaced by its mean over a list of
items, a category by the unknown one; an event is left out of the history. Columns that are the same for the whole
list (the user's own) move no item past another, and are left out. The work is bounded by `MAX_ROWS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.features import UNKNOWN, Float32, ModelInputs, OneHotFeature
from data_exchange_center.history import History
from extras.explain import shapes
from extras.explain.evidence import Evidence, Places
from extras.explain.places import EVENTS
from extras.explain.shapes import ColumnEffect, EventEffect
from online.clients.base import Asks
from online.clients.triton import ScoreQuery

MAX_ITEMS = 50
MAX_ROWS = 4096  # that the model scores for one explanation
COLUMNS = 5  # that are told, for each item
_DIGITS = 6  # of a probability that is a float32


@dataclass(frozen=True, eq=False)
class Occluded:
    """Effects on the scores of k items.

    Attributes:
        columns: positions of the model's input columns that were replaced, one after the other.
        instead: (columns,) by what.
        by_column, by_event: (k, columns), (k, events looked at).
    """

    columns: Sequence[int]
    instead: Float32
    by_column: Float32
    by_event: Float32


def effects(
    scorer: Asks[ScoreQuery, NDArray[np.float32]], evidence: Evidence, shown: Places, reference: Places | slice
) -> list[shapes.Effects]:
    """Of the items in places ``shown`` of the ranked list, as far as `MAX_ROWS` reaches; none where it is not ranked.

    ``reference``: the places whose mean replaces a column. Raises ServiceError.
    """
    ranked = evidence.ranked
    if ranked.query is None or ranked.rows is None:
        return []
    rows = ranked.query.inputs.rows
    ours, others = ranked.rows[shown], rows[ranked.rows[reference]]
    found = _occluded(scorer, evidence, ours, others)
    return [_told(evidence, rows[row], found, k) for k, row in enumerate(ours[: len(found.by_column)])]


def _occluded(
    scorer: Asks[ScoreQuery, NDArray[np.float32]], evidence: Evidence, ours: NDArray[np.intp], others: Float32
) -> Occluded:
    spec, query = evidence.opened.spec, evidence.ranked.query
    assert query is not None  # noqa: S101
    columns = np.flatnonzero(np.ptp(query.inputs.rows, axis=0) > 0).tolist()
    categories = [n for n, feature in enumerate(spec.features) if isinstance(feature, OneHotFeature)]
    instead = others.mean(axis=0)
    instead[categories] = UNKNOWN
    histories = list(_without_each(evidence))
    ours = ours[: min(MAX_ITEMS, MAX_ROWS // (1 + len(columns) + len(histories)))]
    mine = query.inputs.rows[ours]
    changed = [mine]
    for column in columns:
        changed.append(mine.copy())
        changed[-1][:, column] = instead[column]
    lists = [ModelInputs(np.concatenate(changed), query.inputs.history)]
    lists += [ModelInputs(mine, history) for history in histories]
    scores = np.concatenate([scorer.call(replace(query, inputs=inputs)) for inputs in lists]).reshape(-1, len(mine))
    moved = (scores[0] - scores[1:]).T
    return Occluded(columns, instead[columns], moved[:, : len(columns)], moved[:, len(columns) :])


def _without_each(evidence: Evidence) -> Iterator[Float32]:
    """The model's history columns without the newest event, without the second newest, ..."""
    spec, history = evidence.opened.spec, evidence.user.history
    for n in range(min(len(history), spec.history.length) if spec.history else 0):
        rest = History(*(np.delete(part, n) for part in (history.itemids, history.ratings, history.times)))
        yield spec.encode_history(rest, evidence.timestamp)


def _told(evidence: Evidence, row: Float32, found: Occluded, k: int) -> shapes.Effects:
    by_column, by_event = found.by_column[k], found.by_event[k]
    names, order = evidence.opened.spec.columns, np.argsort(-np.abs(by_column), kind="stable")[:COLUMNS]
    events = [n for n in np.argsort(-np.abs(by_event), kind="stable").tolist() if n in evidence.events][:EVENTS]
    return shapes.Effects(
        columns=[
            ColumnEffect(
                column=names[found.columns[n]],
                value=round(float(row[found.columns[n]]), _DIGITS),
                instead=round(float(found.instead[n]), _DIGITS),
                effect=round(float(by_column[n]), _DIGITS),
            )
            for n in order
        ],
        history=[EventEffect(**evidence.events[n], effect=round(float(by_event[n]), _DIGITS)) for n in events],
    )
