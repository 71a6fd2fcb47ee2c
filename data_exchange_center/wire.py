"""Wire format: names, keys and byte layouts that a writer and a reader on two sides of a store must agree on.

Redis: in a cluster, all keys that one request reads bear the tag of the user's partition (`event_partition`): they lie
in one slot, and one round trip to one server reads them. Keys that belong to no user have a copy in each partition
(`past_one_machine/redis_cluster.py`).
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import columns
from data_exchange_center.dataset import OwnId

# --- Redis: one hash a user, keys under their release and the user's own id ---------------------------------------
# string: id of the active release, which answers by default
LIVE_KEY: Final = "ml:live"
PUBLISHED_KEY: Final = "ml:published"  # list: ids of the published releases, last published or activated first
# set: ids of releases that have users in Redis, wholly or in part
LOADED_KEY: Final = "ml:loaded"
# the user's number in Feast and in the models, int32 little endian
USER_NUMBER: Final = "number"
USER_TERM: Final = "term"  # genre codes, int32 little endian
# ... and `vector_of(channel)` where a channel's vector is stored: float32 little endian, as wide as the index's
USER_HISTORY: Final = "history"  # all events, as `History.pack` lays them out
USER_PROFILE: Final = "profile"  # profile codes that the channels' tables are read by, int32 little endian
USER_FILTER: Final = "filter"  # numbers of seen items, int32 little endian


# Name of a recall channel's vector: a field of a user's state, a field of the item index, a column
vector_of: Final = "vector_{}".format
# Keys of a release, each a function of its id: manifest_key(release)
# (release, own id) -> hash: a user's state, on one server
user_key: Final = "ml:{}:user:{}".format
# sorted set: own ids of the users, all with score 0, hence in lexicographic order
ids_key: Final = "ml:{}:ids".format
# sorted set: own ids of the users by the number of their events
event_counts_key: Final = "ml:{}:event_counts".format
manifest_key: Final = "ml:{}:manifest".format  # string: the release's manifest as JSON
# string: mark of a complete load, written once every user was read back
users_key: Final = "ml:{}:users".format
# string: the packed `ChannelSet`: a history -> the index's query vectors
channels_key: Final = "ml:{}:channels".format
# string: JSON list of [item number, score], best first; served to cold-start users
popular_key: Final = "ml:{}:popular".format
# Temporary key, in the same slot of a cluster, that is filled and then renamed to the key that it is a function of
replacement: Final = "{0}:new:{{{0}}}".format

# Feedback belongs to the user, not to a release. It lies under keys that name the data set (`Dataset.base_name`,
# in which there is neither a colon nor a brace), as two data sets may have a user of the same id. Their tag, {0} to
# {15}, puts a user's events and the log that holds them into one slot of a cluster: one function can write both.
EVENT_PARTITIONS: Final = 16
FORGOTTEN: Final = ""  # field of a user's events: the user was forgotten, and no release's state of them counts

FORGOTTEN_COUNT_KEY: Final = "ml:forgotten"  # string: how often somebody was forgotten


def event_partition(own_id: OwnId) -> int:
    """Number of the log that has a user's events."""
    return zlib.crc32(f"{own_id}".encode()) % EVENT_PARTITIONS


def partition_tag(own_id: OwnId) -> str:
    """The part of a key by which a cluster chooses its slot."""
    return f"{{{event_partition(own_id)}}}"


def user_events_key(dataset: str, own_id: OwnId) -> str:
    """Hash, of the events that change the user's state: eventid -> position in the log and event, as
    `data_exchange_center.events.Logged` reads it; or `FORGOTTEN`."""
    return f"ml:events:{dataset}:{partition_tag(own_id)}:{own_id}"


def pack_vector(vector: Sequence[float] | NDArray[Any]) -> bytes:
    return np.asarray(vector, dtype="<f4").tobytes()


def unpack_vector(raw: bytes) -> NDArray[np.float32]:
    return np.frombuffer(raw, dtype="<f4")


def pack_ids(ids: Sequence[int] | NDArray[Any]) -> bytes:
    return np.asarray(ids, dtype="<i4").tobytes()


def unpack_ids(raw: bytes) -> NDArray[np.int32]:
    return np.frombuffer(raw, dtype="<i4")


# --- Elasticsearch: one index a release, behind an alias ----------------------------------------------------------
ITEM_ALIAS: Final = "ml_item"
ITEM_NUMBER: Final = "itemid"  # the item's number
ITEM_OWN_ID: Final = "id"
ITEM_TITLE: Final = "title"
ITEM_GENRES: Final = "genres"  # genre codes
ITEM_ATTRIBUTES: Final = "attributes"  # attributes that an answer shows, by name
# `words_of` title and values of attributes, for queries in words
ITEM_WORDS: Final = "words"
# ... and `vector_of(channel)`, a dense vector a channel


item_index: Final = (ITEM_ALIAS + "-{}").format  # release -> name of its index

# --- Feast: one pair of views and services a release, and the live pair under the plain names --------------------
FEAST_SERVICE: Final[Mapping[columns.Entity, str]] = {
    "user": "ml_user",
    "item": "ml_item",
}
FEAST_KEY: Final[Mapping[columns.Entity, str]] = {
    "user": columns.Columns.USER,
    "item": columns.Columns.ITEM,
}


# (service, release) -> name of the feature view and of the service over it
feast_name: Final = "{}_{}".format

# --- Triton: one model, a version a release -----------------------------------------------------------------------
MODEL: Final = "ml_rec"
MODEL_INPUT: Final = "ml_input"  # FP32 (rows, columns): a row for each candidate
# FP32 (1, events, 3): the user's history, of a model that reads one
MODEL_HISTORY: Final = "ml_history"
# FP32 (rows, outputs), mostly one output: sigmoid of the network's; of a ranker of pairs a probability
MODEL_OUTPUT: Final = "ml_output"
MAX_BATCH: Final = 256  # rows a request
# (recall channel, release) -> name of the model, version 1, that makes the channel's user vectors
encoder_model: Final = "ml_encoder_{}-{}".format


Products = TypeVar("Products", NDArray[np.float32], NDArray[np.float64])


def score_of_product(products: Products) -> Products:
    """Inner products -> scores of a search by vector alone, as Elasticsearch's `max_inner_product` gives them."""
    return np.where(products >= 0, 1 + products, 1 / (1 - np.minimum(products, 0)))


def product_of_score(scores: Products) -> Products:
    """Inverse of `score_of_product`."""
    return np.where(scores >= 1, scores - 1, 1 - 1 / scores)
