"""What the server would answer, with the model's inputs: the server's own functions over its own clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet
from data_exchange_center.feature_kinds import Entity, Float32
from data_exchange_center.features import Encoded
from data_exchange_center.fusion import Hits
from data_exchange_center.own_ids import OwnId
from data_exchange_center.progress import progress
from data_exchange_center.release import Published
from data_exchange_center.steps import CheckError
from online.clients.base import Client
from online.clients.elastic import ItemQuery
from online.clients.feast import FeatureQuery, FeatureRows
from online.clients.redis import StoredUser, UserAnswer, UserQuery
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

    own_id: OwnId  # of the user
    userid: int  # the user's number, as Redis says
    timestamp: int  # of the request, seconds
    found: Mapping[str, NDArray[np.integer]]  # channel name -> items, best first
    itemids: NDArray[np.int64]  # (n,) candidates
    recalled: Float32  # (n, columns of fusion)
    rows: Float32  # (n, width) model inputs, the history in every row
    scores: Float32  # (n,) probabilities


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
