"""Parity: the live stack's features and scores against the offline ones, for the same requests.

1. `online_answers`: the server's own clients recall and score every candidate of some users, over the four services.
2. `offline_answers`: the same requests from the artifacts. Recall's scores are exact inner products in double
   precision, the ranking model's inputs are encoded by the feature spec, its scores are PyTorch's.
3. `compare` and `compare_lists`: column by column, and each channel's list against exact search.

Before 2, `recount` counts histories, profiles, seen items and statistics again from the ratings, by code other than the
offline steps': so a mistake in the artifacts themselves, such as a wrong window, is found too. Events that are held out
for evaluation are not used. Filling up, sorting, feedback, extras and fallbacks of the server are left out.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError  # of bytes that are no weights; nothing is unpickled
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import (
    artifacts,
    candidates,
    features,
    fusion,
    history,
    plugins,
    recipes,
    release_parts,
)
from data_exchange_center.channels import ChannelSet
from data_exchange_center.columns import Columns, Entity, Split
from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.exact import ExactItems
from data_exchange_center.manifest import Manifest, Published
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, progress
from offline.data import sequences, statistics, terms
from offline.evaluation.served import OfflineRanker, read_features
from offline.models.rankers import ScoringModel, load_ranker, ranker_class
from offline_to_online.releases import Stores
from offline_to_online.stores.base import patient
from offline_to_online.stores.elasticsearch import SAME_SCORE
from online.clients import base, elastic, feast, redis, triton
from online.recommend.encoders import encoded
from online.recommend.item_cache import fetch_items
from online.recommend.loaded_release import read_channels
from online.recommend.recall import search_channels
from online.recommend.recommend import Recommender, item_query

TOLERANCE: Final = 1e-5  # largest difference between an offline and an online value, relative to the value or to 1
SCORE: Final = "score"
SHOWN: Final = 2  # disagreements of a group of columns in a message
MIN_FOUND: Final = 0.99  # mean share of a channel's exact candidates that the approximate search must find
MIN_OF_ONE: Final = 0.95  # and the share of the user it serves worst
# of float32 at 1, which a search adds to a magnified product: less is a tie, too
SCORE_STEP: Final = 2.0**-23
_DISAGREE: Final = f"offline and online disagree by more than {TOLERANCE}"
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
            inputs, published.triton_version, published.triton_model
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
    if server.encoder and channels.encoded:
        stored = encoded(server.encoder, manifest, channels, stored, timestamp)
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

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of `Candidates.features`."""
        recall = self.manifest.recipe.recall
        return fusion.candidate_columns([channel.name for channel in recall.channels])

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
        for channel in recall.searched:
            items = self.index.vectors[channel.name]  # (items, dim)
            vector = vectors.get(channel.name, np.full(items.shape[1], np.nan))
            products = items @ vector.astype(np.float64)
            scores[channel.name] = self.index.scores(
                channel, query, products, allowed
            ).astype(np.float64)
        return {channel.name: scores[channel.name] for channel in recall.channels}

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
    index = release_parts.read_items(exchange_dir)
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
    for a seen item, and where fusion gives another list.
    """
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
        for name, hits in answer.candidates.by_channel.items():
            if len(seen := np.intersect1d(hits.ids, user.seen)):
                raise CheckError(
                    f"{who}: Elasticsearch gave seen items {_own_ids(truth, seen)}"
                )
            lists[name] = fusion.Hits(hits.ids, scores[name][truth.positions(hits.ids)])
        fused = candidates.fused_lists(truth.manifest.recipe.recall, lists)
        ours = fused.item_numbers
        theirs = answer.candidates.item_numbers
        if not np.array_equal(ours, theirs):
            raise CheckError(
                f"{who}: fusion gives {_own_ids(truth, ours)}... offline and {_own_ids(truth, theirs)}... online "
                f"({len(ours)} and {len(theirs)} items)"
            )
        inputs = truth.ranker.inputs(user, fused, answer.timestamp)
        answers.append(
            replace(
                answer,
                candidates=fused,
                inputs=inputs,
                scores=truth.ranker.scores(inputs),
            )
        )
    return answers


def _own_ids(truth: OfflineTruth, numbers: Ints) -> list[OwnId]:
    """Own ids of the first items, for a message."""
    return [truth.own_ids[number] for number in numbers[:5].tolist()]


# --- Offline: what the ratings say, counted again


def recount(
    exchange_dir: Path,
    truth: OfflineTruth,
    recipe: recipes.DataRecipe,
    user_numbers: Sequence[int],
) -> OfflineTruth:
    """Recount these users' histories, profiles and seen items, and all statistics, from the ratings; vectors stay.

    Raises ArtifactError for a user without features, CheckError for a statistic that cannot be counted again.
    """
    users = truth.ranker.users
    items = truth.ranker.items
    if absent := sorted({*user_numbers} - {*users.index}):
        raise artifacts.USER_FEATURES.wrong(
            exchange_dir,
            f"user {truth.states[absent[0]].own_id!r}, who is known to recall, is not in it",
        )
    users = users.loc[list(user_numbers)]
    dataset = release_parts.read_dataset(exchange_dir)
    ratings = artifacts.RATINGS.read(exchange_dir)
    served = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    own = served[served[Columns.USER].isin(user_numbers)]
    # what is not counted by `RECOUNTS`: the items' numbers, the users' genres
    known = artifacts.ITEMS.read(exchange_dir).set_index(Columns.ITEM)
    numbers = {
        statistics.number_column(each.column): each.stored(
            known.loc[items.index, each.column].to_numpy()
        )
        for each in dataset.numbers
    }
    genres = artifacts.ITEM_TERMS.read(exchange_dir).set_index(Columns.ITEM)
    newest = own.groupby(Columns.USER).tail(recipe.window)
    by_genre = _by_genre(newest, genres[Columns.GENRES], users.index, truth.spec.genres)
    people = artifacts.USERS.read(exchange_dir)
    ranker = replace(
        truth.ranker,
        users=_counted_again(
            users, truth.spec, "user", ServedRatings(own, users.index), by_genre
        ),
        items=_counted_again(
            items, truth.spec, "item", ServedRatings(served, items.index), numbers
        ),
    )
    states = {number: truth.states[number] for number in user_numbers}
    return replace(truth, ranker=ranker, states=_states(people, dataset, own, states))


def _states(
    people: pd.DataFrame,
    dataset: Dataset,
    own: pd.DataFrame,
    states: Mapping[int, release_parts.UserRow],
) -> dict[int, release_parts.UserRow]:
    """Recount history, profile and seen items of the users in ``states``, from their ratings ``own``."""
    profile = [
        features.one_hot(name, "user", people[name].tolist())
        for name in dataset.profile
    ]
    codes = sequences.profile_codes(profile, people).astype(np.int32)
    profiles = dict(zip(people[Columns.USER].tolist(), codes, strict=True))
    recounted = {}
    for number, state in states.items():
        rated = own[own[Columns.USER] == number]
        columns = rated[[Columns.ITEM, Columns.RATING, Columns.TIMESTAMP]]
        events = history.History(*columns[::-1].to_numpy(np.int64).T)
        left_out = events.item_numbers[: 0 if dataset.allows_repeats else None]
        recounted[number] = replace(
            state,
            seen=np.unique(left_out).astype(np.int32),
            profile=profiles[number],
            history=events,
        )
    return recounted


def _by_genre(
    newest: pd.DataFrame, codes: pd.Series, users: pd.Index, genres: Sequence[str]
) -> dict[str, list[int]]:
    """How often each genre is among the ``newest`` ratings of each user (impressions), and how often liked (clicks)."""
    shown = terms.columns_of(genres, terms.IMPRESSIONS)
    clicked = terms.columns_of(genres, terms.CLICKS)
    counted = Counter[tuple[str, int]]()
    rated = newest[[Columns.USER, Columns.ITEM, Columns.LABEL]]
    for user, item, label in rated.itertuples(index=False):
        for code in codes.get(item, ()):
            counted[shown[code - 1], user] += 1
            counted[clicked[code - 1], user] += label
    return {
        name: [counted[name, user] for user in users] for name in (*shown, *clicked)
    }


@dataclass(frozen=True)
class ServedRatings:
    """Ratings that statistics are counted from, and the users or items they are counted for."""

    ratings: pd.DataFrame  # all but the held-out rows, of the users or of everybody
    ids: pd.Index  # numbers of users or items

    def size(self, by: str, rows: pd.Series | None = None) -> pd.Series:
        """Number of ratings for each id in the column ``by``, of all or (a mask) some ``rows``; 0 where none."""
        ratings = self.ratings if rows is None else self.ratings[rows]
        return ratings.groupby(by).size().reindex(self.ids, fill_value=0)


def _recent(served: ServedRatings) -> pd.Series:
    times = served.ratings[Columns.TIMESTAMP]
    return served.size(Columns.ITEM, times > np.quantile(times, statistics.RECENT))


def _mean_rating(served: ServedRatings) -> pd.Series:
    ratings = served.ratings
    prior = statistics.PRIOR
    total = ratings.groupby(Columns.ITEM)[Columns.RATING].sum()
    total = total.reindex(served.ids, fill_value=0)
    total += prior * ratings[Columns.RATING].mean()
    mean = total / (served.size(Columns.ITEM) + prior)
    return (statistics.HUNDREDS * mean).round().astype(np.int64)


# Every statistic of `offline.data.statistics.STATISTICS` by its column's name, of each of `ServedRatings.ids`; those of
# other packages bring their own ``recount``.
RECOUNTS: dict[str, Callable[[ServedRatings], pd.Series]] = {
    "n_ratings": lambda served: served.size(Columns.USER),
    "item_ratings": lambda served: served.size(Columns.ITEM),
    "item_likes": lambda served: served.size(
        Columns.ITEM, served.ratings[Columns.LABEL] == 1
    ),
    "item_recent": _recent,
    "item_mean_rating_x100": _mean_rating,
}


def _counted_again(
    frame: pd.DataFrame,
    spec: features.FeatureSpec,
    entity: Entity,
    served: ServedRatings,
    counted: Mapping[str, Any],
) -> pd.DataFrame:
    """``frame`` with an entity's dense features recounted: those in ``counted`` already, the others by `RECOUNTS`."""
    columns = {}
    of_packages = plugins.find(plugins.STATISTICS)
    for name in (feature.name for feature in spec.dense if feature.entity == entity):
        recounts = RECOUNTS.get(name)
        if recounts is None and name in of_packages:
            recounts = of_packages[name].load().recount
        if name in counted:
            columns[name] = counted[name]
        elif recounts:
            columns[name] = recounts(served)
        else:
            raise CheckError(
                f"feature {name!r} is counted in one place only, so nothing can be checked: say in RECOUNTS of "
                "offline_to_online/parity.py, or in the statistic's own recount, how it is counted again"
            )
    return frame.assign(**columns)


# --- Offline against online


def compare(
    offline: Sequence[CheckedRequest],
    online: Sequence[CheckedRequest],
    truth: OfflineTruth,
) -> dict[str, float]:
    """Compare the columns of the candidates one by one, the events of the histories, then the scores.

    Returns group of columns -> largest difference, relative to the value or to 1. Raises CheckError naming column,
    user, item and both values.
    """
    if not any(len(answer.scores) for answer in offline):
        raise CheckError(
            f"none of {len(offline)} users has a candidate that both sides could be compared by"
        )
    ours = _values(offline, truth)
    theirs = _values(online, truth)
    largest = {}
    wrong = []
    for group, values in ours.items():
        mine = values.to_numpy()
        others = theirs[group].to_numpy()
        gaps = np.abs(mine - others) / np.maximum(1, np.abs(mine))
        gaps[np.isnan(gaps)] = np.inf
        largest[group] = float(gaps.max())
        wrong += _disagreements(values, theirs[group], gaps)
    if wrong:
        raise CheckError(f"{_DISAGREE}: {'; '.join(wrong)}")
    return largest


def _values(
    answers: Sequence[CheckedRequest], truth: OfflineTruth
) -> dict[str, pd.DataFrame]:
    """Group of columns -> values, a row for each candidate, of histories for each user; the index says whose it is."""
    spec = truth.spec
    users = []
    pairs = []
    for answer in answers:
        users.append(f"user {answer.own_id!r}")
        for number in answer.candidates.item_numbers.tolist():
            pairs.append(f"{users[-1]}, item {truth.own_ids[number]!r}")
    recalled = np.concatenate([answer.candidates.features for answer in answers])
    rows = np.concatenate([answer.inputs.rows for answer in answers])
    columns = {
        **dict(zip(truth.columns, recalled.T, strict=True)),
        **dict(zip(spec.columns, rows.T, strict=True)),  # what the model reads
        SCORE: np.concatenate([answer.scores for answer in answers]),
    }
    values = pd.DataFrame(columns, index=pairs, dtype=np.float64)
    groups = {
        "one-hot": [feature.name for feature in spec.one_hot],
        "multi-hot": [feature.name for feature in spec.multi_hot],
        "dense": [feature.name for feature in spec.dense],
        "candidate": list(truth.columns),
    }
    found = {
        f"{group} ({len(names)} columns)": values[names]
        for group, names in groups.items()
        if names
    }
    if events := spec.sizes.events:
        histories = np.concatenate([answer.inputs.history for answer in answers])
        names = [f"history_{channel}" for channel in features.HISTORY]
        found[f"history ({events} events)"] = pd.DataFrame(
            histories.reshape(len(users), -1),  # (users, events x channels)
            users,
            [f"{name}_{lag}" for lag in range(events) for name in names],
            np.float64,
        )
    return {**found, SCORE: values[[SCORE]]}


def _disagreements(
    ours: pd.DataFrame, theirs: pd.DataFrame, gaps: Float64
) -> list[str]:
    """A sentence for each of the first `SHOWN` columns that differ, at its largest gap; and how many more there are."""
    beyond = gaps > TOLERANCE
    differing = np.flatnonzero(beyond.any(axis=0)).tolist()
    said = []
    for column in differing[:SHOWN]:
        worst = int(gaps[:, column].argmax())
        offline, online = (side.to_numpy()[worst, column] for side in (ours, theirs))
        said.append(
            f"column {ours.columns[column]!r}, {ours.index[worst]}: offline {offline:.6g}, online {online:.6g} "
            f"({beyond[:, column].sum():,} of {len(ours):,} differ)"
        )
    if len(differing) > SHOWN:
        said.append(f"and {len(differing) - SHOWN} more columns like them")
    return said


def compare_lists(
    online: Sequence[CheckedRequest], truth: OfflineTruth
) -> dict[str, Float64]:
    """Check the order of each channel's list, and how much of the exact list was found.

    Returns channel name -> (users,) shares of the exact candidates that were found. Raises CheckError.
    """
    recall = truth.manifest.recipe.recall
    shares = {channel.name: np.ones(len(online)) for channel in recall.channels}
    for place, answer in enumerate(online):
        user = truth.states[answer.user_number]
        scores = truth.channel_scores(user, answer.timestamp)
        unseen = ~np.isin(truth.index.item_numbers, user.seen)
        for name, hits in answer.candidates.by_channel.items():
            # `compare` holds the scores equal to the offline ones
            if (np.diff(hits.scores) > 0).any():
                raise CheckError(
                    f"user {answer.own_id!r}: the list of channel {name!r} is not in the order of its scores"
                )
            findable = unseen & ~np.isnan(scores[name])
            numbers = truth.index.item_numbers[findable]
            shares[name][place] = share_found(
                hits.ids, numbers, scores[name][findable], recall
            )
    for name, share in shares.items():
        worst = int(share.argmin())
        if share.mean() < MIN_FOUND or share[worst] < MIN_OF_ONE:
            raise CheckError(
                f"the index finds {share.mean():.4f} of the exact {recall.candidates} candidates of channel {name} "
                f"over {len(share)} users; at least {MIN_FOUND} is required (worst: user {online[worst].own_id!r}, "
                f"{share[worst]:.4f}; at least {MIN_OF_ONE}). Raise num_candidates in the recipe"
            )
    return shares


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
