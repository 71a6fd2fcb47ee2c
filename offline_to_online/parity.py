"""Parity: offline against online, the same candidates, column by column and in the score.

Online means the server's own clients, its search of the channels, and the ranker's inputs and scores; filling up,
sorting, feedback, extras and fallbacks are left out. Offline means the artifacts, in double precision where it matters:
recall's scores are exact inner products over all items, the ranking model's inputs are encoded by the feature spec, its
scores are PyTorch's. The expected state of the server is recounted from the ratings, by code other than the offline
steps', so that a mistake in the artifacts themselves (a wrong window, for example) is found, too, and not only a
difference between two copies of them. The last ratings of each user, which are held out for evaluation, are not used.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import (
    UnpicklingError,
)  # what PyTorch raises for bytes that are no weights; nothing is unpickled
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
from data_exchange_center.channels import ChannelSet, VectorChannel
from data_exchange_center.columns import Columns, Entity, Split
from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.exact import ExactItems
from data_exchange_center.manifest import Manifest, Published
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, progress
from offline.data import sequences, statistics, terms
from offline.evaluation.served import OfflineRanker, read_features
from offline.models.kinds import ScoringModel, load_ranker, ranker_class
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
SCORE_STEP: Final = (
    2.0**-23
)  # of float32 at 1, which a search adds to a magnified product: less is a tie, too
_DISAGREE: Final = f"offline and online disagree by more than {TOLERANCE}"
Float64 = NDArray[np.float64]
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class CheckedRequest:
    """One request's candidates in recall's order, with recall's features and the ranking model's scores."""

    own_id: OwnId  # of the user
    user_number: int  # the user's number, as Redis says
    timestamp: int  # of the request, seconds
    found: Mapping[str, NDArray[np.integer]]  # channel name -> items, best first
    item_numbers: NDArray[np.int64]  # (n,) candidates
    recalled: features.Float32  # (n, columns of fusion)
    inputs: features.ModelInputs  # of the ranking model
    scores: features.Float32  # (n,) from 0 to 1; of a ranker of lists no probabilities


# Online: what the server answers.


@contextmanager
def server_of(settings: Settings) -> Iterator[Recommender]:
    """Open the server's recommender with a load's timeouts, then close it. A ServiceError becomes a StepError."""
    with closing(Recommender.from_settings(patient(settings))) as server:
        try:
            yield server
        except base.ServiceError as error:
            store = next(
                store
                for store in Stores.of(settings)
                if store.title.lower() == error.service
            )
            with store.translate_errors():
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
    spec, release, channels = (
        manifest.feature_spec,
        manifest.release,
        read_channels(server.users, manifest.release),
    )
    recalled = {}
    for own_id, timestamp in progress(timestamps.items(), "candidates", leave=False):
        stored = server.users.call(redis.UserQuery.of(own_id, manifest)).user
        if stored is None:
            raise CheckError(
                f"user {own_id!r}: Redis does not know this user under release {release}"
            )
        if server.encoder and channels.encoded:
            stored = encoded(server.encoder, manifest, channels, stored, timestamp)
        lists = search_channels(
            server.items.call, manifest, channels, stored, timestamp
        )
        recalled[own_id] = stored, candidates.fused_lists(manifest.recipe.recall, lists)
    item_numbers = sorted(
        {int(number) for _, found in recalled.values() for number in found.item_numbers}
    )
    items = fetch_items(server.features, spec, release, item_numbers)
    if unknown := sorted({*item_numbers} - {*items.item_numbers.tolist()}):
        raise CheckError(
            f"item {item_ids[unknown[0]]!r}: online has no value (null) of some feature"
        )
    answers = []
    for own_id, (stored, found) in progress(recalled.items(), "scores", leave=False):
        row = server.features.call(feast.FeatureQuery("user", release, [stored.number]))
        for names in row.missing.values():
            raise CheckError(
                f"column {names[0]!r}, user {own_id!r}: online has no value (null)"
            )
        user, (_, item_rows) = (
            spec.encode("user", row.columns),
            items.find(found.item_numbers),
        )
        inputs = candidates.model_inputs(
            spec, user, item_rows, found, stored.history, timestamps[own_id]
        )
        scores = server.scorer.call(
            triton.ScoreQuery(inputs, published.triton_version, published.triton_model)
        )
        by_channel = {name: hits.ids for name, hits in found.by_channel.items()}
        request = own_id, stored.number, timestamps[own_id], by_channel
        answers.append(
            CheckedRequest(*request, found.item_numbers, found.features, inputs, scores)
        )
    return answers


# Offline: what each channel gives every item, the features, and the ranking model.


@dataclass(frozen=True)
class OfflineTruth:
    """A release as its artifacts have it: recall's channels over all items, users, the ranking model."""

    manifest: Manifest  # names the channels and their weights
    channels: ChannelSet  # those that compute at request time
    index: ExactItems  # exact search of the item vectors, in double precision
    own_ids: release_parts.OwnIds  # own ids of the items
    states: Mapping[int, release_parts.UserRow]  # users by number
    ranker: (
        OfflineRanker  # the model in PyTorch, with the features of the users and items
    )

    @property
    def spec(self) -> features.FeatureSpec:
        return self.manifest.feature_spec

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of `Fused.features`."""
        return fusion.candidate_columns(
            [channel.name for channel in self.manifest.recipe.recall.channels]
        )

    def channel_scores(
        self, user: release_parts.UserRow, timestamp: int
    ) -> dict[str, Float64]:
        """Score every item by each channel for a request at ``timestamp``: channel name -> (items,).

        NaN for an item that the channel cannot find. Raises CheckError for a vector of the wrong width.
        """
        try:
            vectors = item_query(self.manifest, self.channels, user, timestamp).vectors
        except base.ServiceError as error:
            raise CheckError(f"user {user.own_id!r}: {error.what}") from error
        # channels that score the items themselves
        codes, scores = self.channels.codes(self.index.item_numbers), {}
        for name, values in self.channels.scores(
            user.history, user.profile, timestamp
        ).items():
            known = (codes > 0) & np.isfinite(values[codes])
            scores[name] = np.where(known, values[codes], np.nan).astype(np.float64)
        # channels that the index is searched by
        recipe = self.manifest.recipe.recall
        query = candidates.ItemQuery(
            self.manifest.release, recipe, vectors, user.terms, user.seen
        )
        for channel in recipe.searched:
            items = self.index.vectors[channel.name]  # (items, dim)
            vector = vectors.get(channel.name, np.full(items.shape[1], np.nan)).astype(
                np.float64
            )
            scored = self.index.scores(
                channel, query, items @ vector, self.index.allowed(query)
            )
            scores[channel.name] = scored.astype(np.float64)
        return {channel.name: scores[channel.name] for channel in recipe.channels}

    def positions(self, found: Ints) -> NDArray[np.intp]:
        """Positions of items in the index. Raises CheckError for an unknown one."""
        codes = fusion.Vocabulary(self.index.item_numbers).codes(found)
        if not codes.all():
            raise CheckError(
                f"Elasticsearch found an item with the number {found[codes == 0][0]}, which none of the items has"
            )
        return codes - 1

    def disorder(
        self, scores: Mapping[str, Float64], found: Mapping[str, Ints]
    ) -> Iterator[str]:
        """Yield one sentence per channel whose list is not in the order of its offline scores, ties aside."""
        for name, ids in found.items():
            ranked, names = (
                scores[name][self.positions(ids)],
                [repr(self.own_ids[number]) for number in ids.tolist()],
            )
            if np.isnan(ranked).any():
                yield f"channel {name!r} found item {names[np.isnan(ranked).argmax()]}, which it does not know"
                continue
            best_after = np.maximum.accumulate(ranked[::-1])[::-1]
            late = best_after - ranked > TOLERANCE * np.maximum(1, np.abs(ranked))
            if late.any():
                first = int(late.argmax())
                worst = first + int(ranked[first:].argmax())
                yield (
                    f"channel {name!r} found item {names[first]} ({ranked[first]:.6g} offline) before item "
                    f"{names[worst]} ({ranked[worst]:.6g})"
                )


def offline_truth(exchange_dir: Path, manifest: Manifest) -> OfflineTruth:
    """Read a release from its artifacts. Raises ArtifactError when one is missing or does not belong to the others."""
    model = read_model(
        exchange_dir, manifest
    )  # first: it has the clearest error for another recipe's artifacts
    channels = release_parts.read_channels(exchange_dir)
    index = release_parts.read_items(exchange_dir)
    # channels that compute user vectors also compute their item vectors
    codes = channels.codes(index.item_numbers)
    computed = {
        channel.name: np.where(
            channel.trained[codes, None], channel.item_vectors()[codes], np.nan
        )
        for channel in channels.channels
        if isinstance(channel, VectorChannel)
    }
    vectors = {
        name: stored.astype(np.float64)
        for name, stored in {**index.vectors, **computed}.items()
    }
    return OfflineTruth(
        manifest=manifest,
        channels=channels,
        index=replace(index, vectors=vectors),
        own_ids=release_parts.read_own_ids(exchange_dir).items,
        states={row.number: row for row in release_parts.read_users(exchange_dir)},
        ranker=OfflineRanker(
            manifest.feature_spec, model, *read_features(exchange_dir)
        ),
    )


def read_model(exchange_dir: Path, manifest: Manifest) -> ScoringModel:
    """The trained model. Raises ArtifactError when weights, configuration, recipe and spec do not belong together."""
    weights = artifacts.RANK_WEIGHTS
    try:
        config = artifacts.RANK_REPORT.read(exchange_dir).get("model") or {}
        model = load_ranker(weights.read(exchange_dir), config)
    except (ValueError, RuntimeError, UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise weights.wrong(
            exchange_dir, f"cannot be loaded as its report says ({reason})"
        ) from error
    ranker = manifest.recipe.ranker
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
    answers, own_ids = [], truth.own_ids
    for answer in online:
        state, found, who = (
            truth.states.get(answer.user_number),
            answer.found,
            f"user {answer.own_id!r}",
        )
        if state is None or state.own_id != answer.own_id:
            raise CheckError(
                f"{who}: Redis gives the number {answer.user_number}, another user's or no user's"
            )
        if len(
            seen := np.intersect1d(np.concatenate(list(found.values())), state.seen)
        ):
            raise CheckError(
                f"{who}: Elasticsearch gave seen items {[own_ids[item] for item in seen[:5].tolist()]}"
            )
        # the lists that online found, with offline scores
        of_all = truth.channel_scores(state, answer.timestamp)
        lists = {
            name: fusion.Hits(found[name], scores[truth.positions(found[name])])
            for name, scores in of_all.items()
        }
        fused = candidates.fused_lists(truth.manifest.recipe.recall, lists)
        if not np.array_equal(fused.item_numbers, answer.item_numbers):
            both = fused.item_numbers, answer.item_numbers
            ours, theirs = (
                [own_ids[number] for number in numbers[:5].tolist()] for numbers in both
            )
            raise CheckError(
                f"{who}: fusion gives {ours}... offline and {theirs}... online "
                f"({len(fused.item_numbers)} and {len(answer.item_numbers)} items)"
            )
        inputs = truth.ranker.inputs(state, fused, answer.timestamp)
        scores = truth.ranker.scores(inputs)
        answers.append(
            replace(
                answer,
                item_numbers=fused.item_numbers,
                recalled=fused.features,
                inputs=inputs,
                scores=scores,
            )
        )
    return answers


# Offline: what the ratings say, counted again.


def recount(
    exchange_dir: Path,
    truth: OfflineTruth,
    recipe: recipes.DataRecipe,
    user_numbers: Sequence[int],
) -> OfflineTruth:
    """Recount these users' histories, profiles and seen items, and all statistics, from the ratings; vectors stay.

    Raises ArtifactError for a user without features, CheckError for a statistic that cannot be counted again.
    """
    if absent := sorted({*user_numbers} - {*truth.ranker.users.index}):
        raise artifacts.USER_FEATURES.wrong(
            exchange_dir,
            f"user {truth.states[absent[0]].own_id!r}, who is known to recall, is not in it",
        )
    dataset, ratings = (
        release_parts.read_dataset(exchange_dir),
        artifacts.RATINGS.read(exchange_dir),
    )
    served = ratings[
        ratings[Columns.SPLIT] != Split.HOLDOUT
    ]  # excluded: each user's last ones
    own = served[served[Columns.USER].isin(user_numbers)]
    users, items = truth.ranker.users.loc[list(user_numbers)], truth.ranker.items
    known = (
        artifacts.ITEMS.read(exchange_dir).set_index(Columns.ITEM).reindex(items.index)
    )
    numbers = {
        statistics.number_column(each.column): each.stored(
            known[each.column].to_numpy()
        )
        for each in dataset.numbers
    }
    codes = artifacts.ITEM_TERMS.read(exchange_dir).set_index(Columns.ITEM)[
        Columns.GENRES
    ]
    by_genre = _by_genre(
        own.groupby(Columns.USER).tail(recipe.window),
        codes,
        users.index,
        truth.spec.genres,
    )
    users = _counted_again(
        users, truth.spec, "user", ServedRatings(own, users.index), by_genre
    )
    items = _counted_again(
        items, truth.spec, "item", ServedRatings(served, items.index), numbers
    )
    return replace(
        truth,
        ranker=replace(truth.ranker, users=users, items=items),
        states=_states(
            artifacts.USERS.read(exchange_dir),
            dataset,
            own,
            {user: truth.states[user] for user in user_numbers},
        ),
    )


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
    profiles = dict(
        zip(
            people[Columns.USER].tolist(),
            sequences.profile_codes(profile, people).astype(np.int32),
            strict=True,
        )
    )
    recounted = {}
    for number, state in states.items():
        items, *rest = (
            own.loc[own[Columns.USER] == number, column].to_numpy(np.int64)
            for column in (Columns.ITEM, Columns.RATING, Columns.TIMESTAMP)
        )
        recounted[number] = replace(
            state,
            seen=np.unique(
                items[: 0 if dataset.allows_repeats else None].astype(np.int32)
            ),
            profile=profiles[number],
            history=history.History(*(column[::-1] for column in (items, *rest))),
        )
    return recounted


def _by_genre(
    newest: pd.DataFrame, codes: pd.Series, users: pd.Index, genres: Sequence[str]
) -> dict[str, list[int]]:
    """How often each genre is among the ``newest`` ratings of each user (impressions), and how often liked (clicks)."""
    shown, clicked = (
        terms.columns_of(genres, terms.IMPRESSIONS),
        terms.columns_of(genres, terms.CLICKS),
    )
    counted = Counter[tuple[str, int]]()
    for user, item, label in newest[
        [Columns.USER, Columns.ITEM, Columns.LABEL]
    ].itertuples(index=False):
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


def _mean_rating(served: ServedRatings) -> pd.Series:
    total = (
        served.ratings.groupby(Columns.ITEM)[Columns.RATING]
        .sum()
        .reindex(served.ids, fill_value=0)
    )
    mean = (total + statistics.PRIOR * served.ratings[Columns.RATING].mean()) / (
        served.size(Columns.ITEM) + statistics.PRIOR
    )
    return (statistics.HUNDREDS * mean).round().astype(np.int64)


# Every statistic of `offline.data.statistics.STATISTICS` by its column's name, of each of `ServedRatings.ids`; those of
# other packages bring their own ``recount``.
RECOUNTS: dict[str, Callable[[ServedRatings], pd.Series]] = {
    "n_ratings": lambda served: served.size(Columns.USER),
    "item_ratings": lambda served: served.size(Columns.ITEM),
    "item_likes": lambda served: served.size(
        Columns.ITEM, served.ratings[Columns.LABEL] == 1
    ),
    "item_recent": lambda served: served.size(
        Columns.ITEM,
        (times := served.ratings[Columns.TIMESTAMP])
        > np.quantile(times, statistics.RECENT),
    ),
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
    columns, of_packages = {}, plugins.find(plugins.STATISTICS)
    for name in (feature.name for feature in spec.dense if feature.entity == entity):
        if name in counted:
            columns[name] = counted[name]
        elif name in RECOUNTS:
            columns[name] = RECOUNTS[name](served)
        elif name in of_packages and (again := of_packages[name].load().recount):
            columns[name] = again(served)
        else:
            raise CheckError(
                f"feature {name!r} is counted in one place only, so nothing can be checked: say in RECOUNTS of "
                "offline_to_online/parity.py, or in the statistic's own recount, how it is counted again"
            )
    return frame.assign(**columns)


def compare(
    offline: Sequence[CheckedRequest],
    online: Sequence[CheckedRequest],
    truth: OfflineTruth,
) -> dict[str, float]:
    """Compare the columns of the pairs one by one, the events of the histories, then the scores.

    Returns group of columns -> largest difference, relative to the value or to 1. Raises CheckError naming column,
    user, item and both values.
    """
    pairs = [
        (answer.user_number, item)
        for answer in offline
        for item in answer.item_numbers.tolist()
    ]
    if not pairs:
        raise CheckError(
            f"none of {len(offline)} users has a candidate that both sides could be compared by"
        )
    ours, theirs = _of_pairs(offline, truth), _of_pairs(online, truth)
    our_events, their_events = (
        _of_histories(offline, truth),
        _of_histories(online, truth),
    )
    whose_pair = [
        f"user {truth.states[user].own_id!r}, item {truth.own_ids[item]!r}"
        for user, item in pairs
    ]
    whose_history = [
        f"user {truth.states[answer.user_number].own_id!r}" for answer in offline
    ]

    largest: dict[str, float] = {}
    wrong: list[str] = []
    spec = truth.spec
    groups: dict[str, Sequence[str]] = {
        "one-hot": [feature.name for feature in spec.one_hot],
        "multi-hot": [feature.name for feature in spec.multi_hot],
        "dense": [feature.name for feature in spec.dense],
        "candidate": truth.columns,
    }
    for name, columns in groups.items():
        if columns:
            of_columns = [
                _compare(column, ours[column], theirs[column], whose_pair)
                for column in columns
            ]
            largest[f"{name} ({len(columns)} columns)"] = max(
                gap for gap, _ in of_columns
            )
            wrong += _first_of([sentence for _, sentence in of_columns if sentence])
    if our_events:
        of_events = [
            _compare(name, our_events[name], their_events[name], whose_history)
            for name in our_events
        ]
        largest[f"history ({spec.sizes.events} events)"] = max(
            gap for gap, _ in of_events
        )
        wrong += _first_of([sentence for _, sentence in of_events if sentence])
    largest[SCORE], sentence = _compare(SCORE, ours[SCORE], theirs[SCORE], whose_pair)
    if sentence:
        wrong.append(sentence)
    if wrong:
        raise CheckError(f"{_DISAGREE}: " + "; ".join(wrong))
    return largest


def _compare(
    column: str, ours: Float64, theirs: Float64, whose: Sequence[str]
) -> tuple[float, str]:
    """Compare a column's values, (n,) each, offline and online.

    Returns the largest difference, and a sentence where that is beyond the tolerance; else "". ``whose``: (n,) of whom
    each value is.
    """
    gaps = np.abs(ours - theirs) / np.maximum(1, np.abs(ours))
    gaps = np.nan_to_num(gaps, nan=np.inf)
    worst = int(gaps.argmax())
    gap = float(gaps[worst])
    if gap <= TOLERANCE:
        return gap, ""
    differ = int((gaps > TOLERANCE).sum())
    return gap, (
        f"column {column!r}, {whose[worst]}: offline {ours[worst]:.6g}, online {theirs[worst]:.6g} "
        f"({differ:,} of {len(gaps):,} differ)"
    )


def _first_of(sentences: list[str]) -> list[str]:
    """The first `SHOWN` sentences, and how many more there are."""
    if len(sentences) <= SHOWN:
        return sentences
    return [*sentences[:SHOWN], f"and {len(sentences) - SHOWN} more columns like them"]


def _of_pairs(
    answers: Sequence[CheckedRequest], truth: OfflineTruth
) -> dict[str, Float64]:
    """Every column of a candidate by name, (pairs,): the model's rows, fusion's features that they lack, the score."""
    rows = np.concatenate(
        [answer.inputs.rows for answer in answers]
    )  # (pairs, columns)
    if rows.shape[1] != truth.spec.width:
        raise CheckError(
            f"the model's rows have {rows.shape[1]} columns, the spec {truth.spec.width}"
        )
    recalled = np.concatenate(
        [answer.recalled for answer in answers]
    )  # (pairs, columns of fusion)
    columns = {
        **dict(zip(truth.columns, recalled.T, strict=True)),
        **dict(zip(truth.spec.columns, rows.T, strict=True)),
        SCORE: np.concatenate([answer.scores for answer in answers]),
    }
    return {name: values.astype(np.float64) for name, values in columns.items()}


def _of_histories(
    answers: Sequence[CheckedRequest], truth: OfflineTruth
) -> dict[str, Float64]:
    """Every value of a history by name, (users,): "history_item_0" is the newest event's item; none without a history.

    Raises CheckError where the model's histories do not have the spec's length.
    """
    found = [
        answer.inputs.history for answer in answers if answer.inputs.history is not None
    ]
    if not found:
        return {}
    histories = np.concatenate(found).astype(np.float64)  # (users, events, channels)
    events = truth.spec.sizes.events
    if histories.shape[1] != events:
        raise CheckError(
            f"the model's histories have {histories.shape[1]} events, the spec {events}"
        )
    return {
        f"history_{channel}_{lag}": histories[:, lag, place]
        for place, channel in enumerate(features.HISTORY)
        for lag in range(events)
    }


def compare_lists(
    online: Sequence[CheckedRequest], truth: OfflineTruth
) -> dict[str, Float64]:
    """Check the order of each channel's list, and how much of the exact list was found.

    Returns channel name -> (users,) shares of the exact candidates that were found. Raises CheckError.
    """
    recall = truth.manifest.recipe.recall
    wrong, shares = (
        [],
        {channel.name: np.ones(len(online)) for channel in recall.channels},
    )
    for number, answer in enumerate(online):
        user = truth.states[answer.user_number]
        scores = truth.channel_scores(user, answer.timestamp)
        wrong += [
            f"user {answer.own_id!r}: {said}"
            for said in truth.disorder(scores, answer.found)
        ]
        unseen = ~np.isin(truth.index.item_numbers, user.seen)
        for name, found in answer.found.items():
            open_ = unseen & ~np.isnan(scores[name])
            shares[name][number] = share_found(
                found, truth.index.item_numbers[open_], scores[name][open_], recall
            )
    if wrong:
        raise CheckError(f"{_DISAGREE}: " + "; ".join(wrong[:SHOWN]))
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
    good = item_numbers[
        scores
        >= last
        - max(SAME_SCORE * abs(last), SCORE_STEP / float(elastic.magnified(recall)))
    ]
    return int(np.isin(found, good).sum()) / wanted
