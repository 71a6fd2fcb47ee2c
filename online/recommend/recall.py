"""Recall, the first stage: a few hundred unseen items that the user may like, and what recall says of each.

A user vector for each channel, by Triton where it has an encoder -> the nearest unseen items of each -> one fused list.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from data_exchange_center import candidates, wire
from data_exchange_center.candidates import Candidates, ItemQuery, StoredUser
from data_exchange_center.channels import ChannelSet
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.manifest import Manifest
from online.clients.base import Caller, StoredError
from online.clients.triton import EncoderQuery
from online.recommend.loaded_release import Release

log = logging.getLogger(__name__)

Items = Caller[ItemQuery, tuple[Hits, ...]]
Encoder = Caller[EncoderQuery, Float32]


def encoded(encoder: Encoder, manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int) -> StoredUser:
    """The user with the vector of each channel whose encoder, in Triton, knows an event of the history.

    Raises ServiceError, StoredError for a state that is unusable.
    """
    with _usable(user):
        inputs = channels.encoder_inputs(user.history, user.profile, timestamp)
    vectors = dict(user.vectors)
    for name, tensors in inputs.items():
        query = EncoderQuery(tensors, wire.encoder_model(name, manifest.release), manifest.vector_dims[name])
        vectors[name] = encoder.call(query)
    return replace(user, vectors=vectors)


def recall(items: Items, opened: Release, user: StoredUser, timestamp: int, fewest: int) -> Candidates:
    """The channels' candidates for a request at ``timestamp`` (seconds). Raises ServiceError.

    Where they are fewer than ``fewest``, popular unseen items complete them (`completed`). Items that the release's
    catalogue lacks are left out: there is nothing to show of them.
    """
    lists = search_channels(items, opened.manifest, opened.channels, user, timestamp)
    found = candidates.fused_lists(opened.manifest.recipe.recall, lists)
    item_numbers = found.item_numbers.tolist()
    if not opened.catalogue.keys() >= set(item_numbers):
        known = np.array([number in opened.catalogue for number in item_numbers], np.bool_)
        unknown = found.item_numbers[~known].tolist()
        log.warning("items %s are not in the catalogue of release %s", unknown, opened.release)
        found = found.only(known)
    return found if len(found.item_numbers) >= fewest else completed(opened, user, found)


def completed(opened: Release, user: StoredUser, found: Candidates | None = None) -> Candidates:
    """Candidates, filled up by popular unseen items that can be ranked; ``found``: None: the channels found nothing."""
    popular = opened.by_popularity.ids
    rankable = popular[np.isin(popular, opened.items.current().item_numbers)]
    return candidates.fill_up(opened.manifest.recipe.recall, found, rankable, user)


def search_channels(
    items: Items, manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int, size: int | None = None
) -> dict[str, Hits]:
    """Channel name -> its best unseen items, in the recipe's order: ``size``, or the recipe's number of candidates.

    A searched channel that has neither a vector nor preferred genres for this user finds nothing. Raises ServiceError,
    StoredError for a state that is unusable.
    """
    recipe = manifest.recipe.recall
    if size is not None:
        recipe = recipe.model_copy(update={"candidates": size})
    vectors = checked_vectors(manifest, channels, user, timestamp)
    searched = items.call(ItemQuery(manifest.release, recipe, vectors, user.terms, user.seen, user.only))
    with _usable(user):
        return candidates.channel_lists(recipe, channels, user, timestamp, searched)


def checked_vectors(manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int) -> dict[str, Float32]:
    """Channel name -> query vector (dim,), of the searched channels that have one.

    Raises StoredError for a vector that is not as wide as the index's, and where none can be computed.
    """
    with _usable(user):
        vectors = candidates.search_vectors(manifest.recipe.recall, channels, user, timestamp)
    for name, vector in vectors.items():
        if len(vector) != manifest.vector_dims[name]:
            expected = manifest.vector_dims[name]
            raise StoredError("redis", f"gives a user vector of {len(vector)} numbers for {name}, not {expected}")
    return vectors


@contextmanager
def _usable(user: StoredUser) -> Iterator[None]:
    """Raise StoredError where the channels cannot compute with a user's state, as with an unknown profile code."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        what = f"holds data of this user that the recall channels cannot use ({type(error).__name__})"
        log.warning("user number %d: %r", user.number, error)
        raise StoredError("redis", what) from error
