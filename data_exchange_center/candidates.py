"""Candidate generation: from a user's stored state to fused candidates and the ranking model's inputs.

Server, evaluation and parity check share it; they differ only in where the state is read and how items are searched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import fusion, wire
from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.events import Logged, updated
from data_exchange_center.features import Encoded, FeatureSpec, Float32, ModelInputs
from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.history import History
from data_exchange_center.recipes import RecallRecipe, VectorRecipe

# prefix of the fields of a user's hash that hold a channel's vector
_VECTOR = wire.vector_of("")


@dataclass(frozen=True, slots=True, eq=False)
class StoredUser:
    """A user's state for recall and ranking: what the release stores, and feedback received since.

    An unknown user, one that the release does not have, has only feedback.
    """

    number: int  # the user's number in models and feature store; 0: an unknown user
    terms: tuple[int, ...]  # preferred genre codes, most clicked first
    # numbers of items left out of this user's lists: rated or hidden
    seen: NDArray[np.int32]
    # (profile fields,) codes that the channels' tables are read by
    profile: NDArray[np.int32]
    history: History
    # channel -> (dim,), of those that learned one for this user
    vectors: Mapping[str, Float32]
    events: tuple[Logged, ...] = ()  # since the release, in any order
    # item numbers that a request is limited to, ascending; None: no limit
    only: NDArray[np.int64] | None = None

    @classmethod
    def unknown(cls, events: tuple[Logged, ...]) -> "StoredUser":
        """The state of a user that the release does not have."""
        nothing = np.empty(0, np.int32)
        return cls(0, (), nothing, nothing, History.empty(), {}, events)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known of the user: an unknown user without history and without seen items."""
        return not (self.number or self.history.item_numbers.size or self.seen.size)

    def without(self, item_numbers: NDArray[np.integer]) -> "StoredUser":
        """Exclude ``item_numbers`` from the user's recommendations too."""
        return replace(self, seen=np.union1d(self.seen, item_numbers).astype(np.int32))

    def current(
        self, dataset: Dataset, items: Mapping[OwnId, int], before: int | None
    ) -> "StoredUser":
        """Apply the feedback to history and seen items: the state as a request sees it; all else stays as stored.

        Args:
            items: own id -> number.
            before: second of the request, which sees earlier events only; None: all count.
        """
        history, seen = self.history, self.seen
        if self.events or before is not None:  # else there is nothing to apply
            history, seen = updated(history, seen, self.events, items, dataset, before)
        profile = (
            self.profile if self.number else np.zeros(len(dataset.profile), np.int32)
        )  # 0: unknown
        return replace(self, history=history, seen=seen, profile=profile, events=())

    def fields(self) -> dict[str, bytes]:
        """The fields of the user's hash in Redis."""
        return {
            wire.USER_NUMBER: wire.pack_ids([self.number]),
            wire.USER_TERM: wire.pack_ids(self.terms),
            wire.USER_FILTER: wire.pack_ids(self.seen),
            wire.USER_PROFILE: wire.pack_ids(self.profile),
            wire.USER_HISTORY: self.history.pack(),
            **{
                wire.vector_of(channel): wire.pack_vector(vector)
                for channel, vector in self.vectors.items()
            },
        }

    @classmethod
    def of_fields(
        cls, stored: Mapping[str, bytes], events: tuple[Logged, ...] = ()
    ) -> "StoredUser":
        """Inverse of `fields`. Raises KeyError for a field that is absent, ValueError for one that cannot be read."""
        (number,) = wire.unpack_ids(stored[wire.USER_NUMBER]).tolist()
        vectors = {
            field.removeprefix(_VECTOR): wire.unpack_vector(raw)
            for field, raw in stored.items()
            if field.startswith(_VECTOR)
        }
        return StoredUser(
            number=number,
            terms=tuple(wire.unpack_ids(stored[wire.USER_TERM]).tolist()),
            seen=wire.unpack_ids(stored[wire.USER_FILTER]),
            profile=wire.unpack_ids(stored[wire.USER_PROFILE]),
            history=History.unpack(stored[wire.USER_HISTORY]),
            vectors=vectors,
            events=events,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Unseen items in recall's order, best first, with recall's features of each."""

    item_numbers: NDArray[np.int64]  # (n,)
    scores: NDArray[np.float32]  # (n,)
    columns: Sequence[str]
    features: NDArray[np.float32]  # (n, columns)
    by_channel: Mapping[str, Hits]  # what each channel found
    # those added by `fill_up`
    filled: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def only(self, kept: NDArray[np.bool_]) -> "Candidates":
        """Keep some candidates, (n,) ``kept``, in the same order and with unchanged features."""
        return replace(
            self,
            item_numbers=self.item_numbers[kept],
            scores=self.scores[kept],
            features=self.features[kept],
        )


def search_vectors(
    recipe: RecallRecipe, channels: ChannelSet, user: StoredUser, timestamp: int
) -> dict[str, Float32]:
    """Query vectors, channel -> (dim,), of the searched channels that have one: stored, or made of the history.

    Raises LookupError, TypeError or ValueError where a state does not fit the channels.
    """
    computed = channels.query_vectors(user.history, user.profile, timestamp)
    stored = {
        channel.name: user.vectors[channel.name]
        for channel in recipe.channels
        if channel.name in user.vectors
    }
    return {**computed, **stored}


@dataclass(frozen=True, slots=True, eq=False)
class ItemQuery:
    """A search for unseen items of a release, by each searched channel.

    A channel searches by its vector, and by genre where its recipe gives genres a weight.
    """

    release: str
    recall: RecallRecipe
    # channel name -> (dim,); an item near it earns `vector_weight` x its score
    vectors: Mapping[str, Float32]
    # genre codes; an item with at least one of them earns `term_weight`
    terms: Sequence[int] = ()
    seen: Sequence[int] | NDArray[np.int32] = ()
    # item numbers that the search is limited to; None: no limit
    only: NDArray[np.int64] | None = None


def channel_lists(
    recipe: RecallRecipe,
    channels: ChannelSet,
    user: StoredUser,
    timestamp: int,
    searched: Mapping[str, Hits],
) -> dict[str, Hits]:
    """The best unseen items by each channel, in the recipe's order: found by a search, or scored by the channel itself.

    ``searched``: by channel name; one that is not there has found nothing. Raises as `search_vectors`.
    """
    lists = dict(searched)
    if not all(isinstance(channel, VectorRecipe) for channel in recipe.channels):
        lists |= channels.lists(
            user.history,
            user.profile,
            timestamp,
            user.seen,
            user.only,
            recipe.candidates,
        )
    return {each.name: lists.get(each.name, NO_HITS) for each in recipe.channels}


def fused_lists(
    recipe: RecallRecipe, lists: Mapping[str, Hits], size: int | None = None
) -> Candidates:
    """Fuse the channels' lists, given in the recipe's order; keep ``size``, or the recipe's number of candidates."""
    weights = [channel.fusion_weight for channel in recipe.channels]
    found = fusion.fuse(
        list(lists.values()), weights, recipe.candidates if size is None else size
    )
    return Candidates(
        found.ids,
        found.scores,
        fusion.candidate_columns(list(lists)),
        found.features,
        lists,
    )


def model_inputs(
    spec: FeatureSpec,
    user: Encoded,
    items: Encoded,
    candidates: Candidates,
    history: History,
    timestamp: int,
) -> ModelInputs:
    """Make the ranking model's inputs for one user's n candidates at ``timestamp`` (seconds).

    ``user``: one; ``items``: n, in the order of ``candidates``.
    """
    recalled = spec.encode_candidates(candidates.columns, candidates.features)
    rows = spec.assemble(user, items, timestamp, recalled)
    return ModelInputs(rows, spec.encode_history(history, timestamp))
