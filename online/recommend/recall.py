"""Recall, the first stage: a few hundred unseen items that the user may like, and what recall says of each.

A user vector for each channel -> the nearest unseen items of each -> one fused list.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from data_exchange_center.channels import ChannelSet
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Fused, Hits, candidate_columns, fuse
from data_exchange_center.recipes import RecallRecipe
from data_exchange_center.release import Manifest
from data_exchange_center.wire import vector_of
from online.clients.base import Caller, StoredError
from online.clients.elastic import ItemQuery
from online.clients.redis import StoredUser
from online.recommend.types import Candidates, Lacking, Outcome

if TYPE_CHECKING:
    from online.recommend.release import Release

log = logging.getLogger(__name__)

Items = Caller[ItemQuery, tuple[Hits, ...]]

_POPULAR = "popular"  # fused like a channel where the channels found nothing


def recall(items: Items, opened: Release, user: StoredUser, timestamp: int, lacking: list[Lacking]) -> Candidates:
    """The channels' candidates for a request at ``timestamp`` (seconds). Raises ServiceError.

    A user for whom no channel can search, or who has seen all that they would find, gets popular unseen items, and
    ``lacking`` says so. Items that the release's catalogue lacks are left out: there is nothing to show of them.
    """
    found = _shown(channel_candidates(items, opened.manifest, opened.channels, user, timestamp), opened)
    if len(found.itemids):
        return found
    why = "finds no unseen item for this user by any channel"
    lacking.append(Lacking.of(Outcome.NO_RECALL, "elasticsearch", why))
    return popular_unseen(opened, user)


def _shown(found: Candidates, opened: Release) -> Candidates:
    """Candidates that are in the catalogue."""
    itemids = found.itemids.tolist()
    if opened.catalogue.keys() >= set(itemids):
        return found
    known = np.array([itemid in opened.catalogue for itemid in itemids], np.bool_)
    log.warning("items %s are not in the catalogue of release %s", found.itemids[~known].tolist(), opened.release)
    return found.only(known)


def channel_candidates(
    items: Items, manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int
) -> Candidates:
    """Search all channels and fuse their lists; may be empty.

    Raises ServiceError, StoredError for a state that is unusable.

    A searched channel that has neither a vector nor preferred genres for this user finds nothing.
    """
    recipe = manifest.recipe.recall
    lists = channel_lists(items, manifest, channels, user, timestamp, recipe.candidates)
    fused = fused_lists(recipe, lists, recipe.candidates)
    return Candidates(
        itemids=fused.ids,
        scores=fused.scores,
        columns=candidate_columns(list(lists)),
        features=fused.features,
        by_channel=lists,
    )


def channel_lists(
    items: Items, manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int, size: int
) -> dict[str, Hits]:
    """The best ``size`` unseen items by each channel, in the recipe's order. Raises as `channel_candidates`."""
    recipe = manifest.recipe.recall
    if size != recipe.candidates:
        recipe = recipe.model_copy(update={"candidates": size})
    vectors = search_vectors(manifest, channels, user, timestamp)
    searched = items.call(ItemQuery(manifest.release, recipe, vectors, user.terms, user.seen, user.only))
    left_out = user.seen
    if user.only is not None:
        left_out = np.union1d(left_out, channels.itemids[~np.isin(channels.itemids, user.only)])
    with _usable(user):
        lists = dict(channels.lists(user.history, user.profile, timestamp, left_out, size))
    lists |= {channel.name: found for channel, found in zip(recipe.searched, searched, strict=True)}
    return {channel.name: lists[channel.name] for channel in recipe.channels}


def fused_lists(recipe: RecallRecipe, lists: Mapping[str, Hits], size: int) -> Fused:
    """The channels' lists as one, the first ``size``."""
    return fuse(list(lists.values()), [channel.fusion_weight for channel in recipe.channels], size)


def search_vectors(manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int) -> dict[str, Float32]:
    """The query vector of each searched channel: the stored one, or the one computed from the user's history.

    Raises StoredError for a vector that is not as wide as the index's, and where none can be computed.
    """
    with _usable(user):
        vectors = dict(channels.user_vectors(user.history, user.profile, timestamp))
    for channel in manifest.recipe.recall.searched:
        if (stored := user.vectors.get(vector_of(channel.name))) is not None:
            vectors[channel.name] = stored
    for name, vector in vectors.items():
        if len(vector) != manifest.vector_dims[name]:
            expected = manifest.vector_dims[name]
            raise StoredError("redis", f"gives a user vector of {len(vector)} numbers for {name}, not {expected}")
    return vectors


@contextmanager
def _usable(user: StoredUser) -> Iterator[None]:
    """Raises StoredError where the channels cannot compute with a user's state: a profile code that no table has."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        what = f"holds a user that the release's channels cannot be used for ({type(error).__name__})"
        log.warning("user number %d: %r", user.number, error)
        raise StoredError("redis", what) from error


def popular_unseen(opened: Release, user: StoredUser) -> Candidates:
    """The popular unseen items, in the columns of channels that found nothing."""
    names = [channel.name for channel in opened.manifest.recipe.recall.channels]
    unseen = ~np.isin(opened.popular.ids, user.seen)
    if user.only is not None:
        unseen &= np.isin(opened.popular.ids, user.only)
    size = opened.manifest.recipe.recall.candidates
    popular = Hits(opened.popular.ids[unseen][:size], opened.popular.scores[unseen][:size])
    nothing = Hits(popular.ids[:0], popular.scores[:0])
    fused = fuse([*(nothing for _ in names), popular], [*(0.0 for _ in names), 1.0], size)
    return Candidates(
        itemids=fused.ids,
        scores=popular.scores,  # in the fused order, as it is the only list
        columns=candidate_columns([*names, _POPULAR]),
        features=fused.features,
        by_channel=dict.fromkeys(names, nothing),
    )
