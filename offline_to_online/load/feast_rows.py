"""Features as Feast's offline store wants them: one parquet file an entity and release, and the names of its fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_exchange_center import artifacts, wire
from data_exchange_center.artifacts import written_in_place
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import Entity, FeatureSpec
from data_exchange_center.settings import Settings
from offline_to_online.load.services import CheckError
from online.stack.feast.service import feature_repo

EVENT_TIMESTAMP: Final = "event_timestamp"
CHECKED: Final = "checked"  # file beside a release's others: all of it was read back through the feature server
ENTITIES: Final[tuple[Entity, ...]] = ("user", "item")
_ARROW: Final = {"int64": pa.int64(), "string": pa.string()}
_FEAST: Final = {"int64": "Int64", "string": "String"}  # names in feast.types


def repo_dir(settings: Settings) -> Path:
    """Feast's repository, which the feature server reads as well."""
    return feature_repo(settings)


def release_dir(settings: Settings, release: str) -> Path:
    return repo_dir(settings) / "releases" / release


def feature_frames(exchange_dir: Path, spec: FeatureSpec) -> dict[Entity, pd.DataFrame]:
    """Raw values of users and items: the key first, then the stored features in the spec's order.

    Raises CheckError for a feature that is missing, null, or not of the spec's type.
    """
    frames: dict[Entity, pd.DataFrame] = {
        "user": artifacts.USER_FEATURES.read(exchange_dir),
        "item": artifacts.ITEM_FEATURES.read(exchange_dir),
    }
    return {entity: _stored(frame, entity, spec) for entity, frame in frames.items()}


def _stored(frame: pd.DataFrame, entity: Entity, spec: FeatureSpec) -> pd.DataFrame:
    names = [feature.name for feature in spec.stored(entity)]
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise CheckError(f"the {entity} features hold no column {absent[0]!r}, which the feature spec asks for")
    stored = frame[[wire.FEAST_KEY[entity], *names]]
    nulls = stored.isna()
    if nulls.to_numpy().any():
        name = str(nulls.any().idxmax())
        row = stored[wire.FEAST_KEY[entity]].to_numpy()[nulls[name].to_numpy().argmax()]
        raise CheckError(f"{entity} {row} has no value for feature {name!r}")
    return stored


def newest_event(exchange_dir: Path) -> pd.Timestamp:
    """When the served state was true: the time of the newest train or test rating, in UTC."""
    ratings = artifacts.RATINGS.read(exchange_dir, [Columns.TIMESTAMP, Columns.SPLIT])
    served = ratings.loc[ratings[Columns.SPLIT] != Split.HOLDOUT, Columns.TIMESTAMP]  # excluded: the last ten
    return pd.Timestamp(int(served.max()), unit="s", tz="UTC")


def write_features(
    settings: Settings, release: str, spec: FeatureSpec, frames: dict[Entity, pd.DataFrame], at: pd.Timestamp
) -> None:
    """Write a release's parquet files and, last, fields.json, which makes the release visible to Feast.

    The same features give the same bytes. The mark of an earlier check goes first.
    """
    folder = release_dir(settings, release)
    (folder / CHECKED).unlink(missing_ok=True)
    for entity, frame in frames.items():
        types = {
            wire.FEAST_KEY[entity]: pa.int64(),
            **{feature.name: _ARROW[feature.dtype] for feature in spec.stored(entity)},
        }
        schema = pa.schema([*types.items(), (EVENT_TIMESTAMP, pa.timestamp("us", tz="UTC"))])
        table = pa.Table.from_pandas(frame.assign(**{EVENT_TIMESTAMP: at}), schema=schema, preserve_index=False)
        with written_in_place(folder / f"{entity}s.parquet") as temporary:
            pq.write_table(table.replace_schema_metadata(None), temporary)
    fields = {entity: [[feature.name, _FEAST[feature.dtype]] for feature in spec.stored(entity)] for entity in ENTITIES}
    with written_in_place(folder / "fields.json") as temporary:
        temporary.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
