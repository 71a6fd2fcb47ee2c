"""Entities, feature views and feature services, made from the files that the sync step wrote to this folder.

releases/<release>/fields.json  {"user": [[name, dtype], ...], "item": [...]}; dtype: a name of feast.types ("Int64")
releases/<release>/users.parquet, items.parquet  the fields, the entity's id and event_timestamp (UTC)
live.json  {"live": "<release>"}  the release behind the plain names ml_user and ml_item; else the newest one

The environment variable FEAST_OFFLINE_STORE says what reads these files: file (Feast's own store of one process, the
default), or spark.

A release's view and service are called ml_user_<release> and ml_item_<release>. Needs nothing but Feast.
"""

import json
import os
from datetime import timedelta
from pathlib import Path

import feast.types
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

_HERE = Path(__file__).resolve().parent
_SIDES = {"user": "userid", "item": "itemid"}
_entities = {side: Entity(name=key, join_keys=[key], value_type=ValueType.INT64) for side, key in _SIDES.items()}


def _releases() -> list[str]:
    """Oldest first."""
    manifests = sorted(_HERE.glob("releases/*/fields.json"), key=lambda path: (path.stat().st_mtime_ns, path))
    return [path.parent.name for path in manifests]


def _live(releases: list[str]) -> str:
    pointer = _HERE / "live.json"
    live = json.loads(pointer.read_text(encoding="utf-8")).get("live") if pointer.is_file() else None
    return live if live in releases else releases[-1]


def _file(name: str, path: Path) -> DataSource:
    return FileSource(name=name, path=str(path.relative_to(_HERE)), timestamp_field="event_timestamp")


def _spark(name: str, path: Path) -> DataSource:
    return SparkSource(name=name, path=path.as_uri(), file_format="parquet", timestamp_field="event_timestamp")


_source = {"file": _file, "spark": _spark}[os.environ.get("FEAST_OFFLINE_STORE", "file")]


def _view(release: str, side: str) -> FeatureView:
    fields = json.loads((_HERE / "releases" / release / "fields.json").read_text(encoding="utf-8"))[side]
    name = f"ml_{side}_{release}"
    return FeatureView(
        name=name,
        entities=[_entities[side]],
        # A release is served until the next one, so its features do not expire. Not zero: with that, Feast's first
        # incremental load looks back one year only, and these ratings are older.
        ttl=timedelta(days=36_500),
        schema=[Field(name=field, dtype=getattr(feast.types, dtype)) for field, dtype in fields],
        source=_source(f"{name}_source", _HERE / "releases" / release / f"{side}s.parquet"),
    )


def _objects() -> dict[str, object]:
    objects: dict[str, object] = {f"entity_{side}": entity for side, entity in _entities.items()}
    releases = _releases()
    for release in releases:
        for side in _SIDES:
            view = _view(release, side)
            objects[f"view_{view.name}"] = view
            objects[f"service_{view.name}"] = FeatureService(name=view.name, features=[view])
            if release == _live(releases):
                objects[f"service_ml_{side}"] = FeatureService(name=f"ml_{side}", features=[view])
    return objects


globals().update(_objects())  # `feast apply` collects the module's attributes
