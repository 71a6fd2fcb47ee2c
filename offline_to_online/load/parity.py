"""Offline against online: the same pairs, column by column and in the score.

The online side walks the server's road with the server's own clients: Redis, Elasticsearch, Feast, the spec, Triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data_exchange_center.features import Entity, Float32
from data_exchange_center.release import Published
from offline_to_online.load.offline_truth import OfflineTruth
from offline_to_online.load.services import CheckError
from online.clients.base import Client
from online.clients.elastic import Hits, ItemQuery
from online.clients.feast import FeatureQuery, FeatureRows
from online.clients.redis import UserAnswer, UserQuery
from online.clients.triton import ScoreQuery

TOLERANCE: Final = 1e-5  # largest difference between an offline and an online value
SCORE: Final = "score"
_ITEMS_A_REQUEST: Final = 500


@dataclass(frozen=True)
class Services:
    """The four services a recommendation is made of."""

    users: Client[UserQuery, UserAnswer]
    items: Client[ItemQuery, Hits]
    features: Client[FeatureQuery, FeatureRows]
    ranker: Client[ScoreQuery, NDArray[np.float32]]


@dataclass(frozen=True)
class Pairs:
    """(user, item) pairs with what the model saw and said."""

    userids: NDArray[np.int64]  # (n,)
    itemids: NDArray[np.int64]  # (n,)
    rows: Float32  # (n, width) model inputs
    scores: Float32  # (n,) probabilities


@dataclass(frozen=True)
class Parity:
    """How far apart the two sides are, at most, per group of columns."""

    pairs: int
    users: int
    groups: dict[str, float]


def online_pairs(services: Services, published: Published, userids: Sequence[int]) -> Pairs:
    """Every candidate of every user, as the server would rank it.

    Raises CheckError when a user, a candidate or a value is not there; ServiceError when a service does not answer.
    """
    candidates = {
        userid: _candidates(services, published, userid) for userid in tqdm(userids, "candidates", leave=False)
    }
    spec, release = published.manifest.feature_spec, published.manifest.release
    itemids = sorted({int(itemid) for found in candidates.values() for itemid in found})
    items = dict(zip(itemids, _encoded(services, published, "item", itemids), strict=True))
    rows, scores = [], []
    for userid, found in tqdm(candidates.items(), "scores", leave=False):
        answer = services.features.call(FeatureQuery("user", release, [userid]))
        user = spec.encode_users(_whole("user", answer))
        rows.append(spec.assemble(user, np.stack([items[int(itemid)] for itemid in found])))
        query = ScoreQuery(rows[-1], published.triton_version, published.triton_model)
        scores.append(services.ranker.call(query))
    return Pairs(
        userids=np.repeat(list(candidates), [len(found) for found in candidates.values()]),
        itemids=np.concatenate(list(candidates.values())).astype(np.int64),
        rows=np.concatenate(rows),
        scores=np.concatenate(scores),
    )


def _candidates(services: Services, published: Published, userid: int) -> NDArray[np.int32]:
    manifest = published.manifest
    user = services.users.call(UserQuery(userid, manifest.release)).user
    if user is None:
        raise CheckError(f"user {userid}: Redis does not know this user under release {manifest.release}")
    found = services.items.call(
        ItemQuery(manifest.release, user.terms, user.vector, user.seen, manifest.recipe.recall)
    ).itemids
    leaked = sorted(set(found.tolist()) & set(user.seen.tolist()))
    if leaked or not len(found):
        raise CheckError(
            f"user {userid}: Elasticsearch gave {'seen items ' + str(leaked[:5]) if leaked else 'nothing'}"
        )
    return found


def _encoded(services: Services, published: Published, entity: Entity, ids: Sequence[int]) -> Float32:
    spec = published.manifest.feature_spec
    parts = []
    for start in range(0, len(ids), _ITEMS_A_REQUEST):
        query = FeatureQuery(entity, published.manifest.release, ids[start : start + _ITEMS_A_REQUEST])
        parts.append(spec.encode_items(_whole(entity, services.features.call(query))))
    return np.concatenate(parts)


def _whole(entity: Entity, answer: FeatureRows) -> dict[str, list[object]]:
    for key, names in answer.missing.items():
        raise CheckError(f"column {names[0]!r}, {entity} {key}: online has no value (null)")
    return dict(answer.columns)


def offline_pairs(truth: OfflineTruth, userids: NDArray[np.int64], itemids: NDArray[np.int64]) -> Pairs:
    """The same pairs from the artifacts and the PyTorch model."""
    rows = truth.rows(userids, itemids)
    return Pairs(userids=userids, itemids=itemids, rows=rows, scores=truth.scores(rows))


def compare(offline: Pairs, online: Pairs, truth: OfflineTruth) -> Parity:
    """All columns one by one, then the score. Raises CheckError naming column, user, item and both values."""
    spec = truth.spec
    if offline.rows.shape != online.rows.shape or offline.rows.shape[1] != spec.width:
        raise CheckError(f"offline has {offline.rows.shape} inputs, online {online.rows.shape}")
    wrong = []
    for position, column in enumerate((*spec.columns, SCORE)):
        ours = offline.scores if column == SCORE else offline.rows[:, position]
        theirs = online.scores if column == SCORE else online.rows[:, position]
        differences = np.nan_to_num(np.abs(ours - theirs), nan=np.inf)
        worst = int(differences.argmax())
        if differences[worst] > TOLERANCE:
            wrong.append(
                f"column {column!r}, user {offline.userids[worst]}, item {offline.itemids[worst]}: offline "
                f"{ours[worst]:.6g}, online {theirs[worst]:.6g} ({int((differences > TOLERANCE).sum()):,} of "
                f"{len(ours):,} pairs differ)"
            )
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckError(f"offline and online disagree by more than {TOLERANCE}: " + "; ".join(wrong[:5]) + more)
    gaps = np.abs(offline.rows - online.rows)
    hot, flags = len(spec.one_hot), len(spec.one_hot) + len(spec.multi_hot)
    groups = {
        f"one-hot ({hot} columns)": gaps[:, :hot],
        f"multi-hot ({len(spec.multi_hot)} columns)": gaps[:, hot:flags],
        f"dense ({len(spec.dense)} columns)": gaps[:, flags:],
        SCORE: np.abs(offline.scores - online.scores),
    }
    return Parity(
        pairs=len(offline.scores),
        users=len(np.unique(offline.userids)),
        groups={name: float(gap.max(initial=0.0)) for name, gap in groups.items()},
    )
