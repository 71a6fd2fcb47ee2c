"""Make a release's manifest of the artifacts in the exchange folder; read its parts, and recall's users and items."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from data_exchange_center import (
    artifacts,
    candidates,
    features,
    history,
    provenance,
    wire,
)
from data_exchange_center.channel_file import unpack_channels
from data_exchange_center.channels import ChannelSet
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset, IdKind, OwnId, own_id
from data_exchange_center.exact import ExactItems, IndexedItem
from data_exchange_center.files import parts_of, sha256
from data_exchange_center.manifest import FORMAT, Manifest, Part
from data_exchange_center.recipes import first_problem
from data_exchange_center.settings import Settings

# Fields that describe a data set's files, held-out part included, are no part of a release.
_OF_ITS_FILES: Final = {"name", "origin", "counts", "sha256"}

Model = TypeVar("Model", bound=BaseModel)


def release_of_artifacts(settings: Settings) -> Manifest:
    """Build the manifest of the artifacts in the exchange folder.

    Raises ArtifactError when a part is missing or damaged, or when the parts are not of one run of the steps.
    """
    folder = settings.artifacts_dir
    recipe = settings.recipe
    parts = []
    for artifact in artifacts.RELEASE_PARTS:
        path = artifact.require(folder)
        size = sum(part.stat().st_size for part in parts_of(path))
        parts.append(Part(path=artifact.path, sha256=sha256(path), bytes=size))
    provenance.expect_one_run(folder, recipe)

    # the release's id is a hash of all that it is made of
    dataset = read_dataset(folder)
    digest = hashlib.sha256(f"format {FORMAT}\n".encode())
    digest.update(recipe.model_dump_json().encode())
    digest.update(dataset.model_dump_json(exclude=_OF_ITS_FILES).encode())
    for part in parts:
        digest.update(f"{part.path} {part.sha256}\n".encode())

    # width of each searched channel's vectors
    vectors = artifacts.ITEM_VECTORS.read(folder)
    dims = {}
    for channel in recipe.recall.vector_channels:
        known = vectors[wire.vector_of(channel.name)].dropna()
        dims[channel.name] = len(known.iloc[0])
    report = artifacts.RANK_REPORT.read(folder)
    return Manifest(
        format=FORMAT,
        release=digest.hexdigest()[:12],
        recipe=recipe,
        dataset=dataset,
        feature_spec=read_feature_spec(folder),
        vector_dims=dims,
        model={key: report[key] for key in ("model", "auc")},
        parts=tuple(parts),
    )


def read_dataset(exchange_dir: Path) -> Dataset:
    """Read the data set's description. Raises ArtifactError when it is missing or invalid."""
    return _validated(artifacts.DATASET, exchange_dir, Dataset, "describes no data set")


def read_feature_spec(exchange_dir: Path) -> features.FeatureSpec:
    """Read the ranking model's feature spec. Raises ArtifactError when it is missing or invalid."""
    return _validated(
        artifacts.FEATURE_SPEC, exchange_dir, features.FeatureSpec, "is no feature spec"
    )


def _validated(
    document: artifacts.Document, exchange_dir: Path, model: type[Model], otherwise: str
) -> Model:
    try:
        return model.model_validate(document.read(exchange_dir))
    except ValidationError as error:
        raise document.wrong(
            exchange_dir, f"{otherwise} ({first_problem(error)})"
        ) from error


def read_channels(exchange_dir: Path) -> ChannelSet:
    """Read the channels that compute at a request. Raises ArtifactError when they are missing or damaged."""
    return artifacts.CHANNELS.read_as(exchange_dir, unpack_channels)


class OwnIds(dict[int, OwnId]):
    """Number -> own id, of all users or of all items of a data set."""

    def __init__(
        self, numbers: Iterable[int], texts: Iterable[str], kind: IdKind
    ) -> None:
        super().__init__(
            (number, own_id(text, kind))
            for number, text in zip(numbers, texts, strict=True)
        )
        self.kind = kind

    @cached_property
    def numbers(self) -> Mapping[OwnId, int]:
        """Own id -> number."""
        return {own: number for number, own in self.items()}


class DatasetIds(NamedTuple):
    """Own ids of the users and items of a data set."""

    users: OwnIds
    items: OwnIds


def read_own_ids(exchange_dir: Path) -> DatasetIds:
    """Read the own ids of users and items. Raises ArtifactError when a file is missing."""
    dataset = read_dataset(exchange_dir)

    def of(table: artifacts.Table, key: str, kind: IdKind) -> OwnIds:
        frame = table.read(exchange_dir, [key, Columns.OWN_ID])
        return OwnIds(frame[key].tolist(), frame[Columns.OWN_ID].tolist(), kind)

    users = of(artifacts.USERS, Columns.USER, dataset.user_ids)
    return DatasetIds(users, of(artifacts.ITEMS, Columns.ITEM, dataset.item_ids))


# --- Users and items as recall knows them


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class UserRow(candidates.StoredUser):
    """Recall's state of one user, as the server reads it from Redis."""

    own_id: OwnId  # the data set's id, and the key in Redis


def read_users(exchange_dir: Path) -> list[UserRow]:
    """Every user, by number. Raises ArtifactError when a file is missing, or a user is not in `artifacts.USERS`."""
    own_ids = read_own_ids(exchange_dir).users
    genres = _by_user(artifacts.USER_PREFERENCES, exchange_dir, Columns.GENRES)
    seen = _by_user(artifacts.USER_SEEN, exchange_dir, Columns.SEEN)
    vectors = _vectors_by(artifacts.USER_VECTORS.read(exchange_dir), Columns.USER)
    states = artifacts.USER_STATE.read(exchange_dir).sort_values(Columns.USER)
    events = (Columns.ITEMS, Columns.RATINGS, Columns.TIMES)
    columns = [states[name] for name in (Columns.USER, Columns.PROFILE, *events)]
    rows = []
    for number, profile, *past in zip(*columns, strict=True):
        if number not in own_ids:
            raise artifacts.USERS.wrong(
                exchange_dir, f"user number {number} is not in it"
            )
        row = UserRow(
            number=number,
            own_id=own_ids[number],
            terms=tuple(map(int, genres.get(number, ()))),
            seen=np.asarray(seen.get(number, ()), np.int32),
            profile=np.asarray(profile, np.int32),
            history=history.History(*(np.asarray(part, np.int64) for part in past)),
            vectors=vectors.get(number, {}),
        )
        rows.append(row)
    return rows


def read_items(exchange_dir: Path) -> list[IndexedItem]:
    """Every item with its terms and its vectors. Raises ArtifactError when a file is missing."""
    terms = artifacts.ITEM_TERMS.read(exchange_dir)
    vectors = _vectors_by(artifacts.ITEM_VECTORS.read(exchange_dir), Columns.ITEM)
    return [
        IndexedItem(number, tuple(codes.tolist()), vectors.get(number, {}))
        for number, codes in zip(
            terms[Columns.ITEM].tolist(), terms[Columns.GENRES], strict=True
        )
    ]


def read_exact_items(exchange_dir: Path) -> ExactItems:
    """All items, for an exact search. Raises ArtifactError when a file is missing."""
    items = read_items(exchange_dir)
    dims = {
        channel: len(vector)
        for item in items
        for channel, vector in item.vectors.items()
    }
    return ExactItems.of(items, dims)


def _by_user(table: artifacts.Table, exchange_dir: Path, column: str) -> dict[int, Any]:
    frame = table.read(exchange_dir, [Columns.USER, column])
    return dict(zip(frame[Columns.USER].tolist(), frame[column], strict=True))


def _vectors_by(
    frame: pd.DataFrame, key: str
) -> dict[int, dict[str, features.Float32]]:
    """Table of a key and a vector column for each channel -> (key -> channel -> (dim,) vector), without nulls."""
    fields = frame.columns.drop(key)
    channels = [field.removeprefix(wire.vector_of("")) for field in fields]
    return {
        entity: {
            channel: np.asarray(vector, np.float32)
            for channel, vector in zip(channels, vectors, strict=True)
            if vector is not None
        }
        for entity, *vectors in zip(
            frame[key].tolist(), *(frame[field] for field in fields), strict=True
        )
    }
