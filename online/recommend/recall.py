"""Recall's parts: user vectors, the search for items, what it finds as one list.

A request calls them one after the other (`online.recommend.recommend`). The parity check and extensions use them, too.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from data_exchange_center import wire
from data_exchange_center.candidates import (
    Candidates,
    ItemQuery,
    StoredUser,
    channel_lists,
    fused_lists,
    search_vectors,
)
from data_exchange_center.channels import ChannelSet
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.manifest import Manifest
from online.clients.base import NEVER, Client, Deadline, StoredError
from online.clients.elastic import Search
from online.clients.triton import EncoderQuery, ScoreQuery
from online.recommend.loaded_release import Release

log = logging.getLogger(__name__)


@contextmanager
def usable(user: StoredUser) -> Iterator[None]:
    """Raise StoredError where channels cannot compute with a user's state, as with an unknown profile code."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        log.warning("user number %d: %r", user.number, error)
        what = f"holds data of this user that the recall channels cannot use ({type(error).__name__})"
        raise StoredError("redis", what) from error


def encoded(
    triton: Client[ScoreQuery | EncoderQuery, Float32],
    manifest: Manifest,
    channels: ChannelSet,
    user: StoredUser,
    timestamp: int,
    deadline: Deadline = NEVER,
    *,
    strict: bool = True,
) -> StoredUser:
    """The user, with the vector of each channel whose encoder, a model in Triton, knows an event of the history.

    Raises ServiceError, StoredError for a state that is unusable.
    """
    with usable(user):
        inputs = channels.encoder_inputs(user.history, user.profile, timestamp)
    vectors = dict(user.vectors)
    for channel, tensors in inputs.items():
        model = wire.encoder_model(channel, manifest.release)
        query = EncoderQuery(tensors, model, manifest.vector_dims[channel])
        vectors[channel] = triton.call(query, deadline, strict=strict)
    return replace(user, vectors=vectors)


def item_query(
    manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int
) -> ItemQuery:
    """The search for a user's unseen items, with a vector for each searched channel that has one.

    Raises StoredError for a vector that is not as wide as the index's, and where none can be computed.
    """
    recipe = manifest.recipe.recall
    with usable(user):
        vectors = search_vectors(recipe, channels, user, timestamp)
    for name, vector in vectors.items():
        expected = manifest.vector_dims[name]
        if len(vector) != expected:
            what = f"gives a user vector of {len(vector)} numbers for {name}, not {expected}"
            raise StoredError("redis", what)
    return ItemQuery(
        manifest.release, recipe, vectors, user.terms, user.seen, user.only
    )


def fused_candidates(
    release: Release, user: StoredUser, timestamp: int, searched: Mapping[str, Hits]
) -> Candidates:
    """Fuse what the channels have found for a request at ``timestamp`` (seconds). Raises StoredError.

    Items that the release's catalogue lacks are left out: there is nothing to show of them.

    Args:
        searched: by channel name.
    """
    recipe = release.manifest.recipe.recall
    with usable(user):
        lists = channel_lists(recipe, release.channels, user, timestamp, searched)
    found = fused_lists(recipe, lists)
    numbers = found.item_numbers.tolist()
    known = np.array([number in release.catalogue for number in numbers], np.bool_)
    if known.all():
        return found
    lacking = found.item_numbers[~known].tolist()
    log.warning("items %s are not in the catalogue of %s", lacking, release.release)
    return found.only(known)


def search_channels(
    search: Search,
    manifest: Manifest,
    channels: ChannelSet,
    user: StoredUser,
    timestamp: int,
    size: int | None = None,
) -> dict[str, Hits]:
    """Channel name -> its best unseen items, in the recipe's order: ``size``, or the recipe's number of candidates.

    A searched channel that has neither a vector nor preferred genres for this user finds nothing. Raises ServiceError,
    StoredError for a state that is unusable.
    """
    query = item_query(manifest, channels, user, timestamp)
    if size is not None:
        recall = query.recall.model_copy(update={"candidates": size})
        query = replace(query, recall=recall)
    searched = search(query)
    with usable(user):
        return channel_lists(query.recall, channels, user, timestamp, searched)
