"""Offline against online: the same candidates, column by column and in the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.feature_kinds import Float32
from data_exchange_center.features import FeatureSpec
from data_exchange_center.steps import CheckError
from offline_to_online.parity.offline_truth import OfflineTruth
from offline_to_online.parity.online_answers import Answer
from offline_to_online.parity.recall_truth import Float64

TOLERANCE: Final = 1e-5  # largest difference between an offline and an online value, relative to the value or to 1
SCORE: Final = "score"
SHOWN: Final = 2  # disagreements of a group of columns in a message


@dataclass(frozen=True)
class Parity:
    """How far apart the two sides are, at most, per group of columns."""

    pairs: int
    users: int
    groups: dict[str, float]


def offline_answers(truth: OfflineTruth, online: Sequence[Answer]) -> list[Answer]:
    """The same requests from artifacts, ratings and the PyTorch model.

    Which items each channel found, and in which order, is taken from online; what they are worth is not. Raises
    CheckError for a seen item, and where fusion gives another list.
    """
    return [_offline_answer(truth, answer) for answer in online]


def _offline_answer(truth: OfflineTruth, online: Answer) -> Answer:
    state, who = truth.states.get(online.userid), f"user {online.own_id!r}"
    if state is None or state.own_id != online.own_id:
        raise CheckError(f"{who}: Redis gives the number {online.userid}, which is somebody else's or nobody's")
    own_ids = truth.recall.own_ids
    seen = sorted(set(online.itemids.tolist()) & set(state.seen.tolist()))
    if seen:
        raise CheckError(f"{who}: Elasticsearch gave seen items {[own_ids[item] for item in seen[:5]]}")
    scores = truth.recall.scores(state, online.timestamp)
    if not len(online.itemids) and len(left := truth.recall.findable(scores, state.seen)):
        raise CheckError(f"{who}: no channel found anything, and {len(left)} items that they know are unseen")
    fused = truth.recall.fused(scores, online.found)
    if not np.array_equal(fused.ids, online.itemids):
        ours, theirs = ([own_ids[item] for item in ids[:5].tolist()] for ids in (fused.ids, online.itemids))
        raise CheckError(
            f"{who}: fusion gives {ours}... offline and {theirs}... online "
            f"({len(fused.ids)} and {len(online.itemids)} items)"
        )
    inputs = truth.inputs(online.userid, online.timestamp, fused)
    return Answer(
        own_id=online.own_id,
        userid=online.userid,
        timestamp=online.timestamp,
        found=online.found,
        itemids=fused.ids,
        recalled=fused.features,
        rows=inputs.joined(),
        scores=truth.scores(inputs),
    )


def compare(offline: Sequence[Answer], online: Sequence[Answer], truth: OfflineTruth) -> Parity:
    """All columns one by one, then the score, then the order of each channel's list.

    Raises CheckError naming column, user, item and both values.
    """
    ours, theirs = _Pairs.of(offline), _Pairs.of(online)
    if not len(ours.scores):
        raise CheckError(f"none of {len(offline)} users has a candidate that both sides could be compared by")
    if ours.rows.shape != theirs.rows.shape or ours.rows.shape[1] != truth.spec.width:
        raise CheckError(f"offline has {ours.rows.shape} inputs, online {theirs.rows.shape}")
    one, other = ours.columns(truth), theirs.columns(truth)
    gaps = {
        column: np.nan_to_num(np.abs(values - other[column]) / np.maximum(1, np.abs(values)), nan=np.inf)
        for column, values in one.items()
    }
    wrong = []
    groups = _groups(truth.spec, truth.recall.columns)
    for columns in groups.values():
        differ = [column for column in columns if gaps[column].max(initial=0) > TOLERANCE]
        wrong += [
            _difference(column, ours, truth, one[column], other[column], gaps[column]) for column in differ[:SHOWN]
        ]
        if len(differ) > SHOWN:
            wrong.append(f"and {len(differ) - SHOWN} more columns like them")
    wrong += list(_disorder(truth, online))[:SHOWN]
    if wrong:
        raise CheckError(f"offline and online disagree by more than {TOLERANCE}: " + "; ".join(wrong))
    return Parity(
        pairs=len(ours.scores),
        users=len(offline),
        groups={
            name if name == SCORE else f"{name} ({len(columns)} columns)": max(
                float(gaps[column].max(initial=0)) for column in columns
            )
            for name, columns in groups.items()
            if columns
        },
    )


def _difference(column: str, pairs: _Pairs, truth: OfflineTruth, ours: Float64, theirs: Float64, gap: Float64) -> str:
    worst = int(gap.argmax())
    user, item = truth.states[int(pairs.userids[worst])].own_id, truth.recall.own_ids[int(pairs.itemids[worst])]
    return (
        f"column {column!r}, user {user!r}, item {item!r}: offline {ours[worst]:.6g}, "
        f"online {theirs[worst]:.6g} ({int((gap > TOLERANCE).sum()):,} of {len(gap):,} pairs differ)"
    )


def _disorder(truth: OfflineTruth, online: Sequence[Answer]) -> Iterator[str]:
    for answer in online:
        scores = truth.recall.scores(truth.states[answer.userid], answer.timestamp)
        for what in truth.recall.disorder(scores, answer.found):
            yield f"user {answer.own_id!r}: {what}"


def _groups(spec: FeatureSpec, recalled: Sequence[str]) -> dict[str, Sequence[str]]:
    return {
        "one-hot": [feature.name for feature in spec.one_hot],
        "multi-hot": [feature.name for feature in spec.multi_hot],
        "dense": [feature.name for feature in spec.dense],
        "candidate": recalled,
        "history": spec.columns[spec.history_slice],
        SCORE: [SCORE],
    }


@dataclass(frozen=True)
class _Pairs:
    """(user, item) pairs of all answers, one below the other."""

    userids: NDArray[np.int64]  # (n,)
    itemids: NDArray[np.int64]  # (n,)
    recalled: Float32  # (n, columns of fusion)
    rows: Float32  # (n, width)
    scores: Float32  # (n,)

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> _Pairs:
        return cls(
            np.repeat([answer.userid for answer in answers], [len(answer.itemids) for answer in answers]),
            np.concatenate([answer.itemids for answer in answers]),
            np.concatenate([answer.recalled for answer in answers]),
            np.concatenate([answer.rows for answer in answers]),
            np.concatenate([answer.scores for answer in answers]),
        )

    def columns(self, truth: OfflineTruth) -> dict[str, Float64]:
        """Every column by name, the model's first; what fusion says beyond that; the score."""
        names = zip(truth.recall.columns, self.recalled.T, strict=True)
        recalled = {name: values for name, values in names if name not in truth.spec.candidate}
        inputs = dict(zip(truth.spec.columns, self.rows.T, strict=True))
        return {name: values.astype(np.float64) for name, values in {**inputs, **recalled, SCORE: self.scores}.items()}
