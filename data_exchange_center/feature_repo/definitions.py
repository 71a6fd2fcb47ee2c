"""Entities, feature views and feature services, made from the files that the sync step wrote to this folder.

releases/<release>/fields.json  {"user": [[name, dtype], ...], "item": [...]}; dtype: a name of feast.types ("Int64")
releases/<release>/users.parquet, items.parquet  the fields, the entity's id and event_timestamp (UTC)
live.json  {"live": "<release>"}  the release behind the plain names ml_user and ml_item; else the newest one

A release's view and service are called ml_user_<release> and ml_item_<release>. Needs nothing but Feast.
"""

import json
from datetime import timedelta
from pathlib import Path

import feast.types
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType

_HERE = Path(__file__).resolve().parent
_KEYS = {"user": "userid", "item": "itemid"}


def _view(release: str, side: str, entity: Entity) -> FeatureView:
    folder = _HERE / "releases" / release
    name = f"ml_{side}_{release}"
    fields = json.loads((folder / "fields.json").read_text(encoding="utf-8"))[side]
    path = folder / f"{side}s.parquet"
    source_name = f"{name}_source"
    time = "event_timestamp"
    source = FileSource(
        name=source_name, path=str(path.relative_to(_HERE)), timestamp_field=time
    )
    return FeatureView(
        name=name,
        entities=[entity],
        # A release is served until the next one, so its features do not expire. Not zero: with that, Feast's first
        # incremental load looks back one year only, and these ratings are older.
        ttl=timedelta(days=36_500),
        schema=[
            Field(name=field, dtype=getattr(feast.types, dtype))
            for field, dtype in fields
        ],
        source=source,
    )


def _objects() -> dict[str, object]:
    # oldest first
    manifests = sorted(
        _HERE.glob("releases/*/fields.json"),
        key=lambda path: (path.stat().st_mtime_ns, path),
    )
    releases = [path.parent.name for path in manifests]
    pointer = _HERE / "live.json"
    live = (
        json.loads(pointer.read_text(encoding="utf-8")).get("live")
        if pointer.is_file()
        else None
    )
    if live not in releases:
        live = releases[-1] if releases else None
    objects: dict[str, object] = {}
    for side, key in _KEYS.items():
        entity = objects[f"entity_{side}"] = Entity(
            name=key, join_keys=[key], value_type=ValueType.INT64
        )
        for release in releases:
            view = _view(release, side, entity)
            objects[f"view_{view.name}"] = view
            objects[f"service_{view.name}"] = FeatureService(
                name=view.name, features=[view]
            )
            if release == live:
                objects[f"service_ml_{side}"] = FeatureService(
                    name=f"ml_{side}", features=[view]
                )
    return objects


globals().update(_objects())  # `feast apply` collects the module's attributes
