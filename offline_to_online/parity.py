"""Parity: the live stack's features and scores against the offline ones, for the same requests.

1. `online_answers`: the server's own clients recall and score every candidate of some users, over the four services.
2. `offline_answers`: the same requests from the artifacts. Recall's scores are exact inner products in double
   precision, the ranking model's inputs are encoded by the feature spec, its scores are PyTorch's.
3. `compare`: column by column, and each channel's list against exact search.

Before 2, `recount` counts histories, profiles, seen items and statistics again from the ratings. Filling up, sorting,
feedback, extras and fallbacks of the server are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError  # of bytes that are no weights; nothing is unpickled
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import (
    artifacts,
    candidates,
    features,
    fusion,
    recipes,
    release_parts,
)
from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import OwnId
from data_exchange_center.exact import ExactItems
from data_exchange_center.manifest import Manifest, Published
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, progress
from offline.models.rankers import ScoringModel, load_ranker, ranker_class
from offline.offline_ranker import OfflineRanker, read_features
from offline_to_online.releases import Stores
from offline_to_online.stores.base import patient
from offline_to_online.stores.elasticsearch import SAME_SCORE
from online.clients import base, elastic, feast, redis, triton
from online.recommend.item_cache import fetch_items
from online.recommend.loaded_release import read_channels
from online.recommend.recall import encoded, item_query, search_channels
from online.recommend.recommend import Recommender

TOLERANCE: Final = 1e-5  # largest difference between an offline and an online value, relative to the value or to 1
SHOWN: Final = 2  # disagreements of a group of columns in a message
MIN_FOUND: Final = 0.99  # mean share of a channel's exact candidates that the approximate search must find
MIN_OF_ONE: Final = 0.95  # and the share of the user it serves worst
# of float32 at 1, which a search adds to a magnified product: less is a tie, too
SCORE_STEP: Final = 2.0**-23
Float64 = NDArray[np.float64]
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class CheckedRequest:
    """One request: its candidates, the ranking model's inputs and scores."""

    own_id: OwnId  # of the user
    user_number: int  # the user's number, as Redis says
    timestamp: int  # of the request, seconds
    candidates: candidates.Candidates
    inputs: features.ModelInputs
    scores: features.Float32  # (n,) from 0 to 1; of a ranker of lists no probabilities
    # of an offline answer: channel -> share of the exact candidates that online found
    shares: Mapping[str, float] = field(default_factory=dict)


# --- Online: what the server answers


@contextmanager
def server_of(settings: Settings) -> Iterator[Recommender]:
    """Open the server's recommender with a load's timeouts, then close it. A ServiceError becomes a StepError."""
    with closing(Recommender.from_settings(patient(settings))) as server:
        try:
            yield server
        except base.ServiceError as error:
            titles = {store.title.lower(): store for store in Stores.of(settings)}
            with titles[error.service].translate_errors():
                raise


def online_answers(
    server: Recommender,
    published: Published,
    timestamps: Mapping[OwnId, int],
    item_ids: Mapping[int, OwnId],
) -> list[CheckedRequest]:
    """Recall and score every candidate of every user as the server would.

    A user who has seen everything that the channels find has no candidates. Raises CheckError when a user or a feature
    value is missing, ServiceError when a service does not answer.

    Args:
        timestamps: own id of a user -> time of the request, seconds.
        item_ids: number of an item -> own id, for messages.
    """
    manifest = published.manifest
    spec = manifest.feature_spec
    release = manifest.release
    recalled = {
        own_id: _recall(server, manifest, own_id, timestamp)
        for own_id, timestamp in progress(timestamps.items(), "candidates", leave=False)
    }
    numbers = np.unique(
        [n for _, found in recalled.values() for n in found.item_numbers]
    )
    items = fetch_items(server.features, spec, release, numbers.tolist())
    if len(unknown := np.setdiff1d(numbers, items.item_numbers)):
        own_id = item_ids[int(unknown[0])]
        raise CheckError(f"item {own_id!r}: online has no value (null) of some feature")
    answers = []
    for own_id, (stored, found) in progress(recalled.items(), "scores", leave=False):
        row = server.features.call(feast.FeatureQuery("user", release, [stored.number]))
        for names in row.missing.values():
            raise CheckError(
                f"column {names[0]!r}, user {own_id!r}: online has no value (null)"
            )
        user = spec.encode("user", row.columns)
        _, item_rows = items.find(found.item_numbers)
        inputs = candidates.model_inputs(
            spec, user, item_rows, found, stored.history, timestamps[own_id]
        )
        query = triton.ScoreQuery(
            inputs,
            published.triton_version,
            published.triton_model,
            tuple(manifest.objectives.values()) or (1.0,),
        )
        scores = server.scorer.call(query)
        answers.append(
            CheckedRequest(
                own_id, stored.number, timestamps[own_id], found, inputs, scores
            )
        )
    return answers


def _recall(
    server: Recommender, manifest: Manifest, own_id: OwnId, timestamp: int
) -> tuple[candidates.StoredUser, candidates.Candidates]:
    """A user's state in Redis, and the candidates that Elasticsearch gives for it."""
    stored = server.users.call(redis.UserQuery.of(own_id, manifest)).user
    if stored is None:
        raise CheckError(
            f"user {own_id!r}: Redis does not know this user under release {manifest.release}"
        )
    channels = read_channels(server.users, manifest.release)
    if channels.encoded:
        stored = encoded(server.scorer, manifest, channels, stored, timestamp)
    lists = search_channels(server.items.call, manifest, channels, stored, timestamp)
    return stored, candidates.fused_lists(manifest.recipe.recall, lists)


# --- Offline: what each channel gives every item, the features, and the ranking model


@dataclass(frozen=True)
class OfflineTruth:
    """A release as its artifacts have it: recall's channels over all items, users, the ranking model."""

    manifest: Manifest  # names the channels and their weights
    channels: ChannelSet  # those that compute at request time
    index: ExactItems  # exact search of the item vectors, in double precision
    own_ids: release_parts.OwnIds  # own ids of the items
    states: Mapping[int, release_parts.UserRow]  # users by number
    # the model in PyTorch, with the features of the users and items
    ranker: OfflineRanker

    @property
    def spec(self) -> features.FeatureSpec:
        return self.manifest.feature_spec

    def channel_scores(
        self, user: release_parts.UserRow, timestamp: int
    ) -> dict[str, Float64]:
        """Score every item by each channel for a request at ``timestamp``: channel name -> (items,).

        NaN for an item that the channel cannot find. Raises CheckError for a vector of the wrong width.
        """
        recall = self.manifest.recipe.recall
        try:
            vectors = item_query(self.manifest, self.channels, user, timestamp).vectors
        except base.ServiceError as error:
            raise CheckError(f"user {user.own_id!r}: {error.what}") from error
        scores = {}
        # channels that score the items themselves
        codes = self.channels.codes(self.index.item_numbers)
        computed = self.channels.scores(user.history, user.profile, timestamp)
        for name, values in computed.items():
            known = (codes > 0) & np.isfinite(values[codes])
            scores[name] = np.where(known, values[codes], np.nan).astype(np.float64)
        # channels that the index is searched by
        query = candidates.ItemQuery(
            self.manifest.release, recall, vectors, user.terms, user.seen
        )
        allowed = self.index.allowed(query)
        for channel in recall.vector_channels:
            items = self.index.vectors[channel.name]  # (items, dim)
            vector = vectors.get(channel.name, np.full(items.shape[1], np.nan))
            products = items @ vector.astype(np.float64)
            scores[channel.name] = self.index.scores(
                channel, query, products, allowed
            ).astype(np.float64)
        return scores

    def positions(self, found: Ints) -> NDArray[np.intp]:
        """Positions of items in the index. Raises CheckError for an unknown one."""
        codes = fusion.Vocabulary(self.index.item_numbers).codes(found)
        if not codes.all():
            raise CheckError(
                f"Elasticsearch found an item with the number {found[codes == 0][0]}, which none of the items has"
            )
        return codes - 1


def offline_truth(exchange_dir: Path, manifest: Manifest) -> OfflineTruth:
    """Read a release from its artifacts. Raises ArtifactError when one is missing or does not belong to the others."""
    # first the model: it has the clearest error for another recipe's artifacts
    model = read_model(exchange_dir, manifest)
    channels = release_parts.read_channels(exchange_dir)
    index = release_parts.read_exact_items(exchange_dir)
    vectors = {**index.vectors, **channels.vectors_of(index.item_numbers)}
    exact = {name: found.astype(np.float64) for name, found in vectors.items()}
    return OfflineTruth(
        manifest=manifest,
        channels=channels,
        index=replace(index, vectors=exact),
        own_ids=release_parts.read_own_ids(exchange_dir).items,
        states={row.number: row for row in release_parts.read_users(exchange_dir)},
        ranker=OfflineRanker(
            manifest.feature_spec, model, *read_features(exchange_dir)
        ),
    )


def read_model(exchange_dir: Path, manifest: Manifest) -> ScoringModel:
    """The trained model. Raises ArtifactError when weights, configuration, recipe and spec do not belong together."""
    weights = artifacts.RANK_WEIGHTS
    ranker = manifest.recipe.ranker
    try:
        config = artifacts.RANK_REPORT.read(exchange_dir).get("model") or {}
        model = load_ranker(weights.read(exchange_dir), config)
    except (ValueError, RuntimeError, UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise weights.wrong(
            exchange_dir, f"cannot be loaded as its report says ({reason})"
        ) from error
    if config["kind"] != ranker.kind or config != ranker_class(ranker.kind).configure(
        ranker, manifest.feature_spec, manifest.dataset, config
    ):
        raise weights.wrong(
            exchange_dir, "was trained with another feature spec or recipe"
        )
    return model


def offline_answers(
    truth: OfflineTruth, online: Sequence[CheckedRequest]
) -> list[CheckedRequest]:
    """Answer the same requests from artifacts, ratings and the PyTorch model.

    The items that each channel found, and their order, are taken from online; their scores are not. Raises CheckError
    for a seen item, for a list that is not in the order of its scores, and where fusion gives another list.
    """
    recall = truth.manifest.recipe.recall
    answers = []
    for answer in online:
        user = truth.states.get(answer.user_number)
        who = f"user {answer.own_id!r}"
        if user is None or user.own_id != answer.own_id:
            raise CheckError(
                f"{who}: Redis gives the number {answer.user_number}, another user's or no user's"
            )
        scores = truth.channel_scores(user, answer.timestamp)
        lists = {}
        shares = {}
        for name, hits in answer.candidates.by_channel.items():
            if (np.diff(hits.scores) > 0).any():
                raise CheckError(
                    f"{who}: the list of channel {name!r} is not in the order of its scores"
                )
            if len(seen := np.intersect1d(hits.ids, user.seen)):
                raise CheckError(
                    f"{who}: Elasticsearch gave seen items {_own_ids(truth, seen)}"
                )
            exact = scores[name]
            lists[name] = fusion.Hits(hits.ids, exact[truth.positions(hits.ids)])
            findable = ~np.isin(truth.index.item_numbers, user.seen) & ~np.isnan(exact)
            shares[name] = share_found(
                hits.ids, truth.index.item_numbers[findable], exact[findable], recall
            )
        fused = candidates.fused_lists(recall, lists)
        ours = fused.item_numbers
        theirs = answer.candidates.item_numbers
        if not np.array_equal(ours, theirs):
            raise CheckError(
                f"{who}: fusion gives {_own_ids(truth, ours)}... offline and {_own_ids(truth, theirs)}... online "
                f"({len(ours)} and {len(theirs)} items)"
            )
        inputs = truth.ranker.inputs(user, fused, answer.timestamp)
        scored = truth.ranker.scores(inputs)
        answers.append(
            replace(
                answer, candidates=fused, inputs=inputs, scores=scored, shares=shares
            )
        )
    return answers


def _own_ids(truth: OfflineTruth, numbers: Ints) -> list[OwnId]:
    """Own ids of the first items, for a message."""
    return [truth.own_ids[number] for number in numbers[:5].tolist()]


# --- Offline against online


class Agreement(NamedTuple):
    """How near online is to offline."""

    # group of columns -> largest difference, relative to the value or to 1
    gaps: dict[str, float]
    # channel -> (users,) shares of the exact candidates that were found
    shares: dict[str, Float64]


def compare(
    offline: Sequence[CheckedRequest],
    online: Sequence[CheckedRequest],
    truth: OfflineTruth,
) -> Agreement:
    """Compare the columns of the candidates one by one, the events of the histories, the scores, what was found.

    Raises CheckError naming column, user, item and both values.
    """
    if not any(len(answer.scores) for answer in offline):
        raise CheckError(
            f"none of {len(offline)} users has a candidate that both sides could be compared by"
        )
    ours = _tables(offline, truth)
    theirs = _tables(online, truth)
    largest = {}
    wrong = []
    for group, mine in ours.items():
        gaps = (mine - theirs[group]).abs() / mine.abs().clip(lower=1)
        gaps = gaps.fillna(np.inf)
        largest[group] = float(gaps.to_numpy().max())
        wrong += _disagreements(mine, theirs[group], gaps)
    if wrong:
        raise CheckError(
            f"offline and online disagree by more than {TOLERANCE}: {'; '.join(wrong)}"
        )
    recall = truth.manifest.recipe.recall
    shares = {}
    for channel in recall.channels:
        found = [answer.shares.get(channel.name, 1.0) for answer in offline]
        share = shares[channel.name] = np.array(found)
        worst = int(share.argmin())
        if share.mean() < MIN_FOUND or share[worst] < MIN_OF_ONE:
            raise CheckError(
                f"the index finds {share.mean():.4f} of the exact {recall.candidates} candidates of channel "
                f"{channel.name} over {len(share)} users; at least {MIN_FOUND} is required (worst: user "
                f"{online[worst].own_id!r}, {share[worst]:.4f}; at least {MIN_OF_ONE}). Raise num_candidates in the "
                "recipe"
            )
    return Agreement(largest, shares)


def _tables(
    answers: Sequence[CheckedRequest], truth: OfflineTruth
) -> dict[str, pd.DataFrame]:
    """Group of columns -> values, a row for each candidate, of histories for each user; the index says whose it is."""
    users = []
    pairs = []
    for answer in answers:
        users.append(f"user {answer.own_id!r}")
        for number in answer.candidates.item_numbers.tolist():
            pairs.append(f"{users[-1]}, item {truth.own_ids[number]!r}")
    spec = truth.spec
    of_recall = list(answers[0].candidates.columns)
    recalled = np.concatenate([answer.candidates.features for answer in answers])
    rows = np.concatenate([answer.inputs.rows for answer in answers])
    scores = np.concatenate([answer.scores for answer in answers])
    tables = {
        "recall": pd.DataFrame(recalled, pairs, of_recall, np.float64),
        "features": pd.DataFrame(rows, pairs, spec.columns, np.float64),
    }
    if events := spec.sizes.events:
        histories = np.concatenate([answer.inputs.history for answer in answers])
        tables["history"] = pd.DataFrame(
            histories.reshape(len(users), -1),  # (users, events x channels)
            users,
            [
                f"history_{name}_{lag}"
                for lag in range(events)
                for name in features.HISTORY
            ],
            np.float64,
        )
    tables["score"] = pd.DataFrame({"score": scores}, pairs, dtype=np.float64)
    return tables


def _disagreements(
    ours: pd.DataFrame, theirs: pd.DataFrame, gaps: pd.DataFrame
) -> list[str]:
    """A sentence for each of the first `SHOWN` columns that differ, at its largest gap; and how many more there are."""
    beyond = gaps > TOLERANCE
    differing = ours.columns[beyond.any()]
    said = []
    for column in differing[:SHOWN]:
        worst = int(gaps[column].argmax())
        offline = ours[column].iloc[worst]
        online = theirs[column].iloc[worst]
        said.append(
            f"column {column!r}, {ours.index[worst]}: offline {offline:.6g}, online {online:.6g} "
            f"({beyond[column].sum():,} of {len(ours):,} differ)"
        )
    if len(differing) > SHOWN:
        said.append(f"and {len(differing) - SHOWN} more columns like them")
    return said


def share_found(
    found: Ints, item_numbers: Ints, scores: Float64, recall: recipes.RecallRecipe
) -> float:
    """Share of a channel's exact candidates that were found (recall at k); items that tie with the last count, too.

    ``item_numbers`` and ``scores``: of the items that the channel may find, (n,) each.
    """
    wanted = min(recall.candidates, len(item_numbers))
    if wanted == 0:
        return 1.0
    last = np.partition(scores, -wanted)[-wanted]
    tie = max(SAME_SCORE * abs(last), SCORE_STEP / float(elastic.magnified(recall)))
    good = item_numbers[scores >= last - tie]
    return int(np.isin(found, good).sum()) / wanted
