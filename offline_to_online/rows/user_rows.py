"""What goes into Redis of a release, from the artifacts: the users as recall needs them, which checks use too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import artifacts, wire
from data_exchange_center.artifact_kinds import Table
from data_exchange_center.columns import Columns
from data_exchange_center.history import History
from data_exchange_center.own_ids import OwnId
from data_exchange_center.release_parts import read_user_ids
from offline_to_online.rows.item_map import item_places
from online.clients.redis import StoredUser

_NOTHING = np.empty(0, dtype=np.int32)


@dataclass(frozen=True)
class UserRow:
    """What recall needs of one user."""

    userid: int  # the number
    own_id: OwnId  # what people call the user, and the key in Redis
    genres: NDArray[np.int32]  # preferred genre codes, most clicked first; may be empty
    seen: NDArray[np.int32]  # itemids that are never recommended again
    profile: NDArray[np.int32]  # codes that the channels read
    history: History
    vectors: Mapping[str, NDArray[np.float32]]  # by `vector_of(channel)`; absent where a channel has none for the user

    def stored(self) -> StoredUser:
        """The user as the server reads it from Redis."""
        return StoredUser(self.userid, tuple(self.genres.tolist()), self.seen, self.profile, self.history, self.vectors)

    def fields(self) -> dict[str, bytes]:
        """The hash's fields."""
        return {
            wire.USER_NUMBER: wire.pack_ids([self.userid]),
            wire.USER_TERM: wire.pack_ids(self.genres),
            wire.USER_FILTER: wire.pack_ids(self.seen),
            wire.USER_PROFILE: wire.pack_ids(self.profile),
            wire.USER_HISTORY: self.history.pack(),
            **{field: wire.pack_vector(vector) for field, vector in self.vectors.items()},
        }


@dataclass(frozen=True)
class RecallState:
    """Everything of a release that must lie in Redis before it can go live."""

    users: tuple[UserRow, ...]  # by number
    popular: tuple[tuple[int, float], ...]  # (item's number, score), best first
    channels: bytes  # `ChannelSet`, packed
    places: NDArray[Any]  # of `wire.PLACE`: the items' on the map


def recall_state(exchange_dir: Path, mapped: str) -> RecallState:
    """All of it; ``mapped``: the channel that the map is made of. Raises ArtifactError when a file is missing."""
    popular = artifacts.POPULAR.read(exchange_dir)
    return RecallState(
        users=tuple(user_rows(exchange_dir)),
        popular=tuple(
            (int(item), float(score)) for item, score in zip(popular[Columns.ITEM], popular[Columns.SCORE], strict=True)
        ),
        channels=artifacts.CHANNELS.read(exchange_dir),
        places=item_places(exchange_dir, mapped),
    )


def user_rows(exchange_dir: Path) -> list[UserRow]:
    """Every user that any of the artifacts knows, by number. Raises ArtifactError when a file is missing."""
    own_ids = read_user_ids(exchange_dir)
    genres = _by_user(artifacts.USER_PREFERENCES, exchange_dir, Columns.GENRES)
    seen = _by_user(artifacts.USER_SEEN, exchange_dir, Columns.SEEN)
    vectors = stored_vectors(exchange_dir)
    states = artifacts.USER_STATE.read(exchange_dir).set_index(Columns.USER)
    profiles = states[Columns.PROFILE].to_dict()
    histories = {
        userid: History(*(np.asarray(part, dtype=np.int64) for part in events))
        for userid, *events in zip(
            states.index, states[Columns.ITEMS], states[Columns.RATINGS], states[Columns.TIMES], strict=True
        )
    }
    userids: list[int] = sorted({*genres, *seen, *vectors, *histories})
    if strangers := set(userids) - own_ids.keys():
        raise artifacts.USERS.wrong(artifacts.USERS.at(exchange_dir), f"user number {min(strangers)} is not in it")
    return [
        UserRow(
            userid=userid,
            own_id=own_ids[userid],
            genres=_ids(genres.get(userid)),
            seen=_ids(seen.get(userid)),
            profile=_ids(profiles.get(userid)),
            history=histories.get(userid, History.empty()),
            vectors=vectors.get(userid, {}),
        )
        for userid in userids
    ]


def stored_vectors(exchange_dir: Path) -> dict[int, dict[str, NDArray[np.float32]]]:
    """Users' learned vectors: userid -> `vector_of(channel)` -> vector."""
    return vectors_by(artifacts.USER_VECTORS.read(exchange_dir), Columns.USER)


def vectors_by(frame: pd.DataFrame, key: str) -> dict[int, dict[str, NDArray[np.float32]]]:
    """A table of one key and columns of vectors, as dictionaries without the nulls."""
    fields = [name for name in frame.columns if name != key]
    rows = zip(frame[key].tolist(), *(frame[field] for field in fields), strict=True)
    return {
        entity: {
            field: np.asarray(vector, dtype=np.float32)
            for field, vector in zip(fields, vectors, strict=True)
            if vector is not None
        }
        for entity, *vectors in rows
    }


def _by_user(table: Table, exchange_dir: Path, column: str) -> dict[int, Any]:
    frame = table.read(exchange_dir)
    return dict(zip(frame[Columns.USER].tolist(), frame[column], strict=True))


def _ids(values: Any) -> NDArray[np.int32]:
    return _NOTHING if values is None else np.asarray(values, dtype=np.int32)
