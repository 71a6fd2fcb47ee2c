"""Which users the checks ask for, when, and with which vectors: the same ones for the same data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet
from data_exchange_center.feature_kinds import Float32
from data_exchange_center.own_ids import OwnId
from data_exchange_center.release import Manifest
from data_exchange_center.release_parts import read_channels
from data_exchange_center.steps import CheckError
from offline_to_online.rows.user_rows import UserRow, user_rows
from online.clients.base import ServiceError
from online.recommend.recall import user_vectors

LONGEST: Final = 20  # users with the longest histories are always in the sample: their seen filters are the hardest
SOON_S: Final = 90  # after the user's last event: the session goes on
LATER_S: Final = 3 * 86_400 + 90  # after a break
_SEED: Final = 0


@dataclass(frozen=True)
class Search:
    """One user's search of a channel: the vector, and what must not come back."""

    userid: OwnId
    vector: Float32
    seen: NDArray[np.int32]


def sampled_users(rows: Sequence[UserRow], size: int) -> list[UserRow]:
    """Up to ``size`` users known to recall: those with the longest histories, and others at random."""
    known = [row for row in rows if row.vectors or len(row.history)]
    by_history = sorted(known, key=lambda row: (-len(row.seen), row.userid))
    longest, rest = by_history[:LONGEST], by_history[LONGEST:]
    order = np.random.default_rng(_SEED).permutation(len(rest))[: max(0, size - len(longest))]
    return sorted((*longest[:size], *(rest[i] for i in order)), key=lambda row: row.userid)


def request_time(row: UserRow) -> int:
    """Time of a check's request for a user, in seconds: for half of them within their last session, else days later."""
    last = int(row.history.times[0]) if len(row.history) else 0
    return last + (SOON_S if row.userid % 2 else LATER_S)


def vectors_of(manifest: Manifest, channels: ChannelSet, row: UserRow, timestamp: int) -> dict[str, Float32]:
    """What the server searches each channel with for this user: channel name -> vector.

    Raises CheckError for a vector that is not as wide as the index's.
    """
    try:
        return user_vectors(manifest, channels, row.stored(), timestamp)
    except ServiceError as error:
        raise CheckError(f"user {row.own_id!r}: {error.what}") from error


def sampled_searches(exchange_dir: Path, manifest: Manifest, size: int) -> dict[str, list[Search]]:
    """Searches of up to ``size`` users at their `request_time`: name of a searched channel -> searches."""
    channels = read_channels(exchange_dir)
    searches: dict[str, list[Search]] = {channel.name: [] for channel in manifest.recipe.recall.searched}
    for row in sampled_users(user_rows(exchange_dir), size):
        for name, vector in vectors_of(manifest, channels, row, request_time(row)).items():
            searches[name].append(Search(row.own_id, vector, row.seen))
    return searches
