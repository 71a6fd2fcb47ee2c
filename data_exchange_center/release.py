"""A release: everything that goes live together, under one id.

The id is a hash of the parts' bytes and the recipe, so the same artifacts always make the same release, and each sync
step, run alone, knows which one it loads. Stores hold releases side by side (see `wire` for the names); the server
answers from the one that the live pointer in Redis names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from data_exchange_center import artifacts, provenance, wire
from data_exchange_center.channels import ChannelSet
from data_exchange_center.columns import vector_of
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Frozen):
    """One file of a release."""

    path: str  # below the exchange folder
    sha256: str
    bytes: int


class ParityRecord(_Frozen):
    """That offline and online agree on a release, as `offline_to_online/rank/s3_check_offline_and_online.py` found."""

    users: int
    pairs: int  # of user and candidate
    largest_difference: float  # between an offline and an online value, relative to the value or to 1
    triton_model: str  # the model that was asked for scores
    triton_version: int


class Manifest(_Frozen):
    """What a release is made of, what the server needs to open it, and whether it may go live."""

    release: str
    recipe: Recipe
    dataset: dict[str, Any]  # name, origin, counts
    feature_spec: FeatureSpec
    vector_dims: dict[str, int]  # of each recall channel's vectors
    model: dict[str, Any]  # ranking model: configuration and AUC per split
    parts: tuple[Part, ...]
    parity: ParityRecord | None = None  # None: not checked since it was loaded, so it must not go live


class Published(_Frozen):
    """What is stored under `wire.manifest_key` in Redis when a release goes live: all that a server needs."""

    manifest: Manifest
    triton_model: str = wire.MODEL  # `wire.MODEL`, or a name with the width where that one serves another width
    triton_version: int  # its version that scores for this release


def release_of_artifacts(settings: Settings) -> Manifest:
    """The manifest of what lies in the exchange folder.

    Raises ArtifactError when a part is missing or damaged, or when the parts are not of one run of the steps.
    """
    folder = settings.exchange_dir
    parts = []
    for artifact in artifacts.RELEASE_PARTS:
        path = artifact.require(folder)
        parts.append(Part(path=artifact.path, sha256=artifacts.sha256(path), bytes=path.stat().st_size))
    provenance.expect_one_run(folder, settings.recipe)
    digest = hashlib.sha256(settings.recipe.model_dump_json().encode())
    for part in parts:
        digest.update(f"{part.path} {part.sha256}\n".encode())
    report = artifacts.RANK_REPORT.read(folder)
    return Manifest(
        release=digest.hexdigest()[:12],
        recipe=settings.recipe,
        dataset=artifacts.DATASET.read(folder),
        feature_spec=read_feature_spec(folder),
        vector_dims=_vector_dims(settings),
        model={key: _of(artifacts.RANK_REPORT, folder, report, key) for key in ("model", "auc")},
        parts=tuple(parts),
    )


def _vector_dims(settings: Settings) -> dict[str, int]:
    """Raises ArtifactError when a channel of the recipe has no vectors."""
    folder, table = settings.exchange_dir, artifacts.ITEM_VECTORS
    vectors = table.read(folder)
    dims = {}
    for channel in settings.recipe.recall.channels:
        known = vectors.get(vector_of(channel.name), pd.Series(dtype=object)).dropna()
        if known.empty:
            raise table.wrong(table.at(folder), f"holds no vectors of channel {channel.name!r}")
        dims[channel.name] = len(known.iloc[0])
    return dims


def read_feature_spec(exchange_dir: Path) -> FeatureSpec:
    """The spec in the exchange folder. Raises ArtifactError when it is missing or is no spec."""
    try:
        return FeatureSpec.model_validate(artifacts.FEATURE_SPEC.read(exchange_dir))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        path = artifacts.FEATURE_SPEC.at(exchange_dir)
        raise artifacts.FEATURE_SPEC.wrong(path, f"is no feature spec ({where}: {first['msg']})") from error


def read_channels(exchange_dir: Path) -> ChannelSet:
    """The channels that make user vectors. Raises ArtifactError when they are missing or damaged."""
    try:
        return ChannelSet.unpack(artifacts.CHANNELS.read(exchange_dir))
    except ValueError as error:
        raise artifacts.CHANNELS.wrong(artifacts.CHANNELS.at(exchange_dir), str(error)) from error


def _of(document: artifacts.Document, exchange_dir: Path, content: Mapping[str, Any], key: str) -> Any:
    if key not in content:
        raise document.wrong(document.at(exchange_dir), f"holds no {key!r}")
    return content[key]
