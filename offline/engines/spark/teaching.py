"""What makes training lists, as files: written where the teachers were fitted, read by each of Spark's tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_exchange_center.channels import Channel, ChannelSet, StoredVectors
from data_exchange_center.feature_kinds import OneHotFeature
from offline.data.lists import ListsAsked
from offline.data.sequences import Ints

ASKED, CHANNELS = "asked.json", "channels.npz"


@dataclass(frozen=True, eq=False)
class Teaching:
    """What is asked, and who answers.

    Attributes:
        profile: the profile's vocabularies.
        itemids: (items,) ascending.
        teachers: in the recipe's order.
    """

    asked: ListsAsked
    profile: tuple[OneHotFeature, ...]
    itemids: Ints
    teachers: tuple[Channel, ...]

    def save(self, folder: Path) -> None:
        """Vectors that are stored by user are files of their own, of which a task reads its users' alone."""
        stored = [each for each in self.teachers if isinstance(each, StoredVectors)]
        others = tuple(each for each in self.teachers if not isinstance(each, StoredVectors))
        (folder / CHANNELS).write_bytes(ChannelSet(self.itemids, others).pack())
        for each in stored:
            for name, array in each.arrays().items():
                np.save(folder / f"{each.name}.{name}.npy", array, allow_pickle=False)
        about = {
            "asked": asdict(self.asked),
            "profile": [feature.model_dump(mode="json") for feature in self.profile],
            "teachers": [each.name for each in self.teachers],
            "stored": [each.name for each in stored],
        }
        (folder / ASKED).write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls, folder: Path) -> Teaching:
        """Inverse of `save`; once in a process."""
        about = json.loads((folder / ASKED).read_text(encoding="utf-8"))
        channels = ChannelSet.unpack((folder / CHANNELS).read_bytes())
        known: dict[str, Channel] = {each.name: each for each in channels.channels}
        for name in about["stored"]:
            users, items, trained = (
                np.load(folder / f"{name}.{field}.npy", mmap_mode="r", allow_pickle=False)
                for field in ("users", "items", "trained")
            )
            known[name] = StoredVectors(name, users, items, trained)
        return cls(
            ListsAsked(**about["asked"] | {"weights": tuple(about["asked"]["weights"])}),
            tuple(OneHotFeature.model_validate(each) for each in about["profile"]),
            channels.itemids,
            tuple(known[name] for name in about["teachers"]),
        )

    def teachers_of(self, users: slice) -> tuple[Channel, ...]:
        """The teachers, with what is stored of some of all users."""

        def own() -> Iterator[Channel]:
            for each in self.teachers:
                yield replace(each, users=np.array(each.users[users])) if isinstance(each, StoredVectors) else each

        return tuple(own())
