"""Rows that a release loads: users, items, features; and the users that checks sample."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from data_exchange_center import artifacts, features, release_parts, wire
from data_exchange_center.channel_file import pack_channels
from data_exchange_center.columns import Columns, Entity, Split
from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.exact import IndexedItem
from data_exchange_center.words import named_values, words_of

LONGEST: Final = 20  # users with the longest histories are always in the sample: their seen filters are the hardest
SOON_S: Final = 90  # after the user's last event: the session goes on
LATER_S: Final = 3 * 86_400 + 90  # after a break
_SEED: Final = 0


@dataclass(frozen=True)
class RecallState:
    """Everything of a release that must lie in Redis before it can go live."""

    users: tuple[release_parts.UserRow, ...]  # by number
    popular: list[tuple[int, float]]  # (item's number, score), best first
    channels: bytes  # `ChannelSet`, packed, without the models of encoders: a server needs none


def recall_state(exchange_dir: Path) -> RecallState:
    """Read the recall state from the offline files. Raises ArtifactError when one is missing."""
    popular = artifacts.POPULAR.read(exchange_dir)[[Columns.ITEM, Columns.SCORE]]
    channels = release_parts.read_channels(exchange_dir)
    return RecallState(
        users=tuple(release_parts.read_users(exchange_dir)),
        popular=list(popular.itertuples(index=False, name=None)),
        channels=pack_channels(channels.without_encoders()),
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ItemRow(IndexedItem):
    """Recall's index entry of one item, and its attributes in an answer."""

    own_id: OwnId
    title: str
    # by name: a list of values, a number, or None where the item has none
    attributes: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """The item's document in Elasticsearch."""
        values = named_values(self.attributes)
        document = {
            wire.ITEM_NUMBER: self.number,
            wire.ITEM_OWN_ID: self.own_id,
            wire.ITEM_TITLE: self.title,
            wire.ITEM_GENRES: list(self.terms),
            wire.ITEM_ATTRIBUTES: dict(self.attributes),
            wire.ITEM_WORDS: {
                "title": " ".join(words_of(self.title)),
                "attributes": " ".join(words_of(" ".join(values))),
            },
        }
        for channel, vector in self.vectors.items():
            document[wire.vector_of(channel)] = vector.tolist()
        return document


def item_rows(exchange_dir: Path) -> list[ItemRow]:
    """Read the items, in the order of their numbers. Raises ArtifactError when a file is missing."""
    dataset = release_parts.read_dataset(exchange_dir)
    items = artifacts.ITEMS.read(exchange_dir).sort_values(Columns.ITEM)
    own_ids = release_parts.read_own_ids(exchange_dir).items
    indexed = {item.number: item for item in release_parts.read_items(exchange_dir)}
    rows = []
    for item in items.to_dict("records"):
        number = item[Columns.ITEM]
        row = ItemRow(
            number=number,
            own_id=own_ids[number],
            title=item[Columns.TITLE],
            terms=indexed[number].terms,
            attributes=_attributes(dataset, item),
            vectors=indexed[number].vectors,
        )
        rows.append(row)
    return rows


def _attributes(dataset: Dataset, item: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes that an answer shows of an item, by their declared names."""
    shown: dict[str, Any] = {attribute: [] for attribute in dataset.terms}
    for term in item[Columns.GENRES]:
        attribute, value = dataset.attribute_and_value(term)
        shown[attribute].append(value)
    for number in dataset.numbers:
        value = item[number.column]
        if math.isnan(value):
            shown[number.name] = None
        else:
            shown[number.name] = int(value) if value.is_integer() else value
    return shown


def feature_frames(
    exchange_dir: Path, spec: features.FeatureSpec
) -> dict[Entity, pd.DataFrame]:
    """Raw values of users and items: the key first, then the stored features in the spec's order."""
    tables: dict[Entity, artifacts.Table] = {
        "user": artifacts.USER_FEATURES,
        "item": artifacts.ITEM_FEATURES,
    }
    frames = {}
    for entity, table in tables.items():
        stored = [feature.name for feature in spec.stored(entity)]
        frames[entity] = table.read(exchange_dir)[[wire.FEAST_KEY[entity], *stored]]
    return frames


def newest_event(exchange_dir: Path) -> pd.Timestamp:
    """Time of the served state: that of the newest rating that is not held out, in UTC.

    Never later than now, even where the data's clock is ahead: Feast serves no row of the future.
    """
    ratings = artifacts.RATINGS.read(exchange_dir, [Columns.TIMESTAMP, Columns.SPLIT])
    served = ratings.loc[ratings[Columns.SPLIT] != Split.HOLDOUT, Columns.TIMESTAMP]
    return min(
        pd.Timestamp(int(served.max()), unit="s", tz="UTC"),
        pd.Timestamp.now("UTC").floor("s"),
    )


# Users and times of the check's requests: the same ones for the same data.


def sampled_users(
    rows: Sequence[release_parts.UserRow], size: int
) -> list[release_parts.UserRow]:
    """Sample up to ``size`` users with a vector or a history: those with the most seen items, and others at random."""
    known = [row for row in rows if row.vectors or len(row.history)]
    by_history = sorted(known, key=lambda row: (-len(row.seen), row.number))
    order = np.random.default_rng(_SEED).permutation(max(0, len(known) - LONGEST))
    chosen = by_history[:LONGEST] + [by_history[LONGEST + i] for i in order]
    return sorted(chosen[:size], key=lambda row: row.number)


def request_time(row: release_parts.UserRow) -> int:
    """Time of a check's request for a user, in seconds: for half of them within their last session, else days later."""
    last = int(row.history.times[0]) if len(row.history) else 0
    return last + (SOON_S if row.number % 2 else LATER_S)
