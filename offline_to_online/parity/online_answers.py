"""What the server would answer, with the model's inputs: the server's own functions over its own clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet
from data_exchange_center.features import Encoded, Entity, Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.history import History
from data_exchange_center.progress import progress
from data_exchange_center.release import Published
from data_exchange_center.steps import CheckError
from online.clients.base import Client
from online.clients.elastic import ItemQuery
from online.clients.feast import FeatureQuery, FeatureRows
from online.clients.redis import UserAnswer, UserQuery
from online.clients.triton import ScoreQuery
from online.recommend.rank import model_inputs
from online.recommend.recall import channel_candidates
from online.recommend.types import Candidates

_ITEMS_A_REQUEST: Final = 500


@dataclass(frozen=True)
class ServerClients:
    """The server's clients of the four services that a recommendation is made from."""

    users: Client[UserQuery, UserAnswer]
    channels: Callable[[str], ChannelSet]  # of a release, from Redis
    items: Client[ItemQuery, tuple[Hits, ...]]
    features: Client[FeatureQuery, FeatureRows]
    ranker: Client[ScoreQuery, NDArray[np.float32]]


@dataclass(frozen=True)
class Answer:
    """One request's candidates in recall's order, with what recall and the model say of them."""

    userid: int
    timestamp: int  # of the request, seconds
    found: Mapping[str, NDArray[np.integer]]  # channel name -> itemids, best first
    itemids: NDArray[np.int64]  # (n,) candidates
    recalled: Float32  # (n, columns of fusion)
    rows: Float32  # (n, width) model inputs
    scores: Float32  # (n,) probabilities


def online_answers(clients: ServerClients, published: Published, timestamps: Mapping[int, int]) -> list[Answer]:
    """Every candidate of every user (userid -> time of the request), as the server would rank it.

    Raises CheckError when a user, a candidate or a value is not there; ServiceError when a service does not answer.
    """
    spec, release = published.manifest.feature_spec, published.manifest.release
    channels = clients.channels(release)
    recalled = {
        userid: _recalled(clients, published, channels, userid, timestamp)
        for userid, timestamp in progress(timestamps.items(), "candidates", leave=False)
    }
    itemids = sorted({int(itemid) for _, found in recalled.values() for itemid in found.itemids})
    items = _encoded_items(clients, published, itemids)
    answers = []
    for userid, (history, found) in progress(recalled.items(), "scores", leave=False):
        user = spec.encode_users(_whole("user", clients.features.call(FeatureQuery("user", release, [userid]))))
        rows = model_inputs(
            spec, user, items[np.searchsorted(itemids, found.itemids)], found, history, timestamps[userid]
        )
        scores = clients.ranker.call(ScoreQuery(rows, published.triton_version, published.triton_model))
        answers.append(
            Answer(userid, timestamps[userid], found.by_channel, found.itemids, found.features, rows, scores)
        )
    return answers


def _recalled(
    clients: ServerClients, published: Published, channels: ChannelSet, userid: int, timestamp: int
) -> tuple[History, Candidates]:
    manifest = published.manifest
    user = clients.users.call(UserQuery(userid, manifest.release)).user
    if user is None:
        raise CheckError(f"user {userid}: Redis does not know this user under release {manifest.release}")
    found = channel_candidates(clients.items, manifest, channels, user, timestamp)
    if not len(found.itemids):
        raise CheckError(f"user {userid}: Elasticsearch gave nothing")
    return user.history, found


def _encoded_items(clients: ServerClients, published: Published, ids: Sequence[int]) -> Encoded:
    spec, release = published.manifest.feature_spec, published.manifest.release
    parts = [Encoded.none(spec.of("item"))]
    for start in range(0, len(ids), _ITEMS_A_REQUEST):
        query = FeatureQuery("item", release, ids[start : start + _ITEMS_A_REQUEST])
        parts.append(spec.encode_items(_whole("item", clients.features.call(query))))
    return Encoded.joined(parts)


def _whole(entity: Entity, answer: FeatureRows) -> dict[str, list[object]]:
    for key, names in answer.missing.items():
        raise CheckError(f"column {names[0]!r}, {entity} {key}: online has no value (null)")
    return dict(answer.columns)
