"""Recall, the first stage: a few hundred unseen items that the user may like, and what recall says of each.

A user vector for each channel -> the nearest unseen items of each -> one fused list.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from data_exchange_center import candidates, wire
from data_exchange_center.candidates import Candidates, ItemQuery, StoredUser
from data_exchange_center.channels import ChannelSet
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.manifest import Manifest
from online.clients.base import StoredError
from online.clients.elastic import Search
from online.clients.triton import EncoderQuery
from online.recommend.loaded_release import Release

log = logging.getLogger(__name__)


def encoder_queries(
    manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int
) -> dict[str, EncoderQuery]:
    """Channel -> query of its encoder in Triton, of each channel whose encoder knows an event of the history.

    Raises StoredError for a state that is unusable.
    """
    with _usable(user):
        inputs = channels.encoder_inputs(user.history, user.profile, timestamp)
    queries = {}
    for channel, tensors in inputs.items():
        model = wire.encoder_model(channel, manifest.release)
        queries[channel] = EncoderQuery(tensors, model, manifest.vector_dims[channel])
    return queries


def query_vectors(
    manifest: Manifest, channels: ChannelSet, user: StoredUser, timestamp: int
) -> dict[str, Float32]:
    """Channel name -> query vector (dim,), of the searched channels that have one.

    Raises StoredError for a vector that is not as wide as the index's, and where none can be computed.
    """
    with _usable(user):
        vectors = candidates.search_vectors(
            manifest.recipe.recall, channels, user, timestamp
        )
    for name, vector in vectors.items():
        expected = manifest.vector_dims[name]
        if len(vector) != expected:
            raise StoredError(
                "redis",
                f"gives a user vector of {len(vector)} numbers for {name}, not {expected}",
            )
    return vectors


def fused_candidates(
    release: Release, user: StoredUser, timestamp: int, searched: Sequence[Hits]
) -> Candidates:
    """Fuse what the channels have found for a request at ``timestamp`` (seconds). Raises StoredError.

    Items that the release's catalogue lacks are left out: there is nothing to show of them.

    Args:
        searched: one list for each of `RecallRecipe.searched`.
    """
    recipe = release.manifest.recipe.recall
    with _usable(user):
        lists = candidates.channel_lists(
            recipe, release.channels, user, timestamp, searched
        )
    found = candidates.fused_lists(recipe, lists)
    item_numbers = found.item_numbers.tolist()
    if release.catalogue.keys() >= set(item_numbers):
        return found
    known = np.array([number in release.catalogue for number in item_numbers], np.bool_)
    log.warning(
        "items %s are not in the catalogue of release %s",
        found.item_numbers[~known].tolist(),
        release.release,
    )
    return found.only(known)


def with_popular(
    release: Release, user: StoredUser, found: Candidates | None = None
) -> Candidates:
    """Candidates, filled up by popular unseen items that can be ranked; ``found``: None: the channels found nothing."""
    popular = release.by_popularity.ids
    rankable = popular[np.isin(popular, release.items.current().item_numbers)]
    return candidates.fill_up(release.manifest.recipe.recall, found, rankable, user)


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
    recipe = manifest.recipe.recall
    if size is not None:
        recipe = recipe.model_copy(update={"candidates": size})
    vectors = query_vectors(manifest, channels, user, timestamp)
    searched = search(
        ItemQuery(manifest.release, recipe, vectors, user.terms, user.seen, user.only)
    )
    with _usable(user):
        return candidates.channel_lists(recipe, channels, user, timestamp, searched)


@contextmanager
def _usable(user: StoredUser) -> Iterator[None]:
    """Raise StoredError where the channels cannot compute with a user's state, as with an unknown profile code."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        what = f"holds data of this user that the recall channels cannot use ({type(error).__name__})"
        log.warning("user number %d: %r", user.number, error)
        raise StoredError("redis", what) from error
