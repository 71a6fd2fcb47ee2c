"""What each recall channel finds, outside of a request: for the parity check, and for extensions."""

from dataclasses import replace

from data_exchange_center.candidates import StoredUser, channel_lists
from data_exchange_center.channels import ChannelSet
from data_exchange_center.fusion import Hits
from data_exchange_center.manifest import Manifest
from online.clients.elastic import Search
from online.recommend.outcomes import UNUSABLE, unusable
from online.recommend.recommend import item_query


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
    try:
        return channel_lists(query.recall, channels, user, timestamp, searched)
    except UNUSABLE as error:
        raise unusable(user, error) from error
