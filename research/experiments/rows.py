"""The rows of the source's two models, from what preprocessing left: no recipe's later steps are needed."""

from __future__ import annotations

from data_exchange_center.features import FeatureSpec
from data_exchange_center.settings import Settings
from offline.models.fm import FMData, fm_data
from offline.models.training import Data, pairs_data
from offline.readers import read_inputs, read_rated_pairs


def fm_rows(settings: Settings) -> FMData:
    """(rows, 2) codes of user and item."""
    return fm_data(read_inputs(settings).data, settings.recipe.data)


def deepfm_rows(settings: Settings) -> tuple[Data, FeatureSpec]:
    """(rows, spec.width) and what the columns are."""
    pairs = read_rated_pairs(settings)
    return pairs_data(pairs.rows, pairs.ratings, settings.recipe.data.validation_share), pairs.spec
