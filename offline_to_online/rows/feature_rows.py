"""Raw feature values of a release's users and items, from the artifacts: what goes into Feast."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns, Split
from data_exchange_center.feature_kinds import Entity
from data_exchange_center.features import FeatureSpec
from data_exchange_center.own_ids import OwnIds
from data_exchange_center.release_parts import read_item_ids, read_user_ids
from data_exchange_center.steps import CheckError


def feature_frames(exchange_dir: Path, spec: FeatureSpec) -> dict[Entity, pd.DataFrame]:
    """Raw values of users and items: the key first, then the stored features in the spec's order.

    Raises CheckError for a feature that is missing, null, or not of the spec's type.
    """
    frames: dict[Entity, pd.DataFrame] = {
        "user": artifacts.USER_FEATURES.read(exchange_dir),
        "item": artifacts.ITEM_FEATURES.read(exchange_dir),
    }
    own_ids = feature_ids(exchange_dir)
    return {entity: _stored(frame, entity, spec, own_ids[entity]) for entity, frame in frames.items()}


def feature_ids(exchange_dir: Path) -> dict[Entity, OwnIds]:
    """What people call the users and items whose features are numbered rows."""
    return {"user": read_user_ids(exchange_dir), "item": read_item_ids(exchange_dir)}


def _stored(frame: pd.DataFrame, entity: Entity, spec: FeatureSpec, own_ids: OwnIds) -> pd.DataFrame:
    names = [feature.name for feature in spec.stored(entity)]
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise CheckError(f"the {entity} features hold no column {absent[0]!r}, which the feature spec asks for")
    stored = frame[[wire.FEAST_KEY[entity], *names]]
    nulls = stored.isna()
    if nulls.to_numpy().any():
        name = str(nulls.any().idxmax())
        row = stored[wire.FEAST_KEY[entity]].tolist()[nulls[name].to_numpy().argmax()]
        raise CheckError(f"{entity} {own_ids[row]!r} has no value for feature {name!r}")
    return stored


def newest_event(exchange_dir: Path) -> pd.Timestamp:
    """When the served state was true: the time of the newest train or test rating, in UTC.

    Never later than now, even by a clock that is ahead: Feast serves no row of the future.
    """
    ratings = artifacts.RATINGS.read(exchange_dir, [Columns.TIMESTAMP, Columns.SPLIT])
    served = ratings.loc[ratings[Columns.SPLIT] != Split.HOLDOUT, Columns.TIMESTAMP]  # excluded: the last ten
    return min(pd.Timestamp(int(served.max()), unit="s", tz="UTC"), pd.Timestamp.now("UTC").floor("s"))
