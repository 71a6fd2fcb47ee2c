"""Offline against online: the same candidates, column by column and in the score.

The online side is the server's own functions over its own clients, the offline side `offline_to_online.parity.offline`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Encoded, Entity, FeatureSpec, Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.release import Published
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, StepError, progress
from offline_to_online.parity.offline import Float64, OfflineTruth
from offline_to_online.stores.base import START_SERVICES, TIMEOUT_S, redis_address
from online.clients.base import Client, ServiceError
from online.clients.elastic import ElasticItems, ItemQuery
from online.clients.feast import FeastFeatures, FeatureQuery, FeatureRows
from online.clients.redis import RedisUsers, StoredUser, UserAnswer, UserQuery
from online.clients.triton import ScoreQuery, TritonScores
from online.recommend.rank import model_inputs
from online.recommend.recall import channel_candidates
from online.recommend.types import Candidates

TOLERANCE: Final = 1e-5  # largest difference between an offline and an online value, relative to the value or to 1
SCORE: Final = "score"
SHOWN: Final = 2  # disagreements of a group of columns in a message
_ITEMS_A_REQUEST: Final = 500


@dataclass(frozen=True)
class Answer:
    """One request's candidates in recall's order, with what recall and the model say of them."""

    own_id: OwnId  # of the user
    userid: int  # the user's number, as Redis says
    timestamp: int  # of the request, seconds
    found: Mapping[str, NDArray[np.integer]]  # channel name -> items, best first
    itemids: NDArray[np.int64]  # (n,) candidates
    recalled: Float32  # (n, columns of fusion)
    rows: Float32  # (n, width) model inputs, the history in every row
    scores: Float32  # (n,) probabilities


# Online.


@dataclass(frozen=True)
class ServerClients:
    """The server's clients of the four services that a recommendation is made from."""

    users: Client[UserQuery, UserAnswer]
    channels: Callable[[str], ChannelSet]  # of a release, from Redis
    items: Client[ItemQuery, tuple[Hits, ...]]
    features: Client[FeatureQuery, FeatureRows]
    ranker: Client[ScoreQuery, NDArray[np.float32]]


@contextmanager
def server_clients(settings: Settings) -> Iterator[ServerClients]:
    """The clients, closed at the end. A ServiceError becomes a StepError that names the service's address."""
    patient = {"timeout_s": TIMEOUT_S}
    addresses = {
        "redis": redis_address(settings),
        "elasticsearch": settings.elasticsearch.url,
        "feast": settings.feast.url,
        "triton": settings.triton.http_url,
    }
    with ExitStack() as stack:
        users = stack.enter_context(closing(RedisUsers(settings.redis.model_copy(update=patient))))
        clients = ServerClients(
            users=users,
            channels=users.channels,
            items=stack.enter_context(closing(ElasticItems(settings.elasticsearch.model_copy(update=patient)))),
            features=stack.enter_context(closing(FeastFeatures(settings.feast.model_copy(update=patient)))),
            ranker=stack.enter_context(closing(TritonScores(settings.triton.model_copy(update=patient)))),
        )
        try:
            yield clients
        except ServiceError as error:
            address = addresses.get(error.service, "its address")
            raise StepError(f"{error.service} at {address} {error.what}", START_SERVICES) from error


def online_answers(
    clients: ServerClients, published: Published, timestamps: Mapping[OwnId, int], item_ids: Mapping[int, OwnId]
) -> list[Answer]:
    """Every candidate of every user (own id -> time of the request), as the server would rank it.

    ``item_ids``: number -> own id, for what an error says.

    Somebody who has seen all that the channels could find has no candidates.

    Raises CheckError when a user or a value is not there; ServiceError when a service does not answer.
    """
    spec, release = published.manifest.feature_spec, published.manifest.release
    channels = clients.channels(release)
    recalled = {
        own_id: _recalled(clients, published, channels, own_id, timestamp)
        for own_id, timestamp in progress(timestamps.items(), "candidates", leave=False)
    }
    itemids = sorted({int(itemid) for _, found in recalled.values() for itemid in found.itemids})
    items = _encoded_items(clients, published, itemids, item_ids)
    answers = []
    for own_id, (stored, found) in progress(recalled.items(), "scores", leave=False):
        row = clients.features.call(FeatureQuery("user", release, [stored.number]))
        user = spec.encode_users(_whole("user", row, {stored.number: own_id}))
        item_rows = items[np.searchsorted(itemids, found.itemids)]
        inputs = model_inputs(spec, user, item_rows, found, stored.history, timestamps[own_id])
        scores = clients.ranker.call(ScoreQuery(inputs, published.triton_version, published.triton_model))
        answers.append(
            Answer(
                own_id=own_id,
                userid=stored.number,
                timestamp=timestamps[own_id],
                found={name: hits.ids for name, hits in found.by_channel.items()},
                itemids=found.itemids,
                recalled=found.features,
                rows=inputs.joined(),
                scores=scores,
            )
        )
    return answers


def _recalled(
    clients: ServerClients, published: Published, channels: ChannelSet, own_id: OwnId, timestamp: int
) -> tuple[StoredUser, Candidates]:
    manifest = published.manifest
    user = clients.users.call(UserQuery.of(own_id, manifest)).user
    if user is None:
        raise CheckError(f"user {own_id!r}: Redis does not know this user under release {manifest.release}")
    found = channel_candidates(clients.items, manifest, channels, user, timestamp)
    return user, found


def _encoded_items(
    clients: ServerClients, published: Published, ids: Sequence[int], own_ids: Mapping[int, OwnId]
) -> Encoded:
    spec, release = published.manifest.feature_spec, published.manifest.release
    parts = [Encoded.none(spec.of("item"))]
    for start in range(0, len(ids), _ITEMS_A_REQUEST):
        query = FeatureQuery("item", release, ids[start : start + _ITEMS_A_REQUEST])
        parts.append(spec.encode_items(_whole("item", clients.features.call(query), own_ids)))
    return Encoded.joined(parts)


def _whole(entity: Entity, answer: FeatureRows, own_ids: Mapping[int, OwnId]) -> dict[str, list[object]]:
    for key, names in answer.missing.items():
        raise CheckError(f"column {names[0]!r}, {entity} {own_ids[key]!r}: online has no value (null)")
    return dict(answer.columns)


# Offline.


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


# One against the other.


@dataclass(frozen=True)
class Parity:
    """Largest differences of the two sides, per group of columns."""

    pairs: int
    users: int
    groups: dict[str, float]


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
