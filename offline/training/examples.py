"""What rankers are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_exchange_center.channels.contract import Channel
from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import Recipe
from offline.data.lists import Lists
from offline.data.sequences import Inputs, Sequences
from offline.training.click_model import Data


@dataclass(frozen=True, eq=False)
class PairExamples:
    """Rows of rated pairs with the columns of ``spec``, and their labels."""

    spec: FeatureSpec
    dataset: Dataset
    data: Data


@dataclass(frozen=True, eq=False)
class ListExamples:
    """Lists that recall made at moments of the past, and all that may be known beside them.

    Attributes:
        past: every event that may be known.
        recipe: of the recommender.
        spec: the columns of a row.
        teachers: the channels that made the lists, fitted on the first part of each user's past.
        channels: the same, fitted on the whole past.
        lists: of several workers, each has its share of them.
    """

    past: Sequences
    inputs: Inputs
    recipe: Recipe
    spec: FeatureSpec
    teachers: Sequence[Channel]
    channels: Sequence[Channel]
    lists: Lists
