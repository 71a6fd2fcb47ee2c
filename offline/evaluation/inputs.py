"""What the evaluation reads of the exchange folder: every rating, the held-out ones too."""

from __future__ import annotations

import numpy as np

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import DEFAULT
from data_exchange_center.release import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data import inputs
from offline.data.inputs import Inputs


def of_default_artifacts(settings: Settings) -> Settings:
    """Settings of the default recipe. Raises ArtifactError unless one run of it made what lies in the folder."""
    settings = settings.model_copy(update={"recipe_name": DEFAULT.name})
    release_of_artifacts(settings)
    return settings


def read_inputs(settings: Settings) -> Inputs:
    """Raises ArtifactError when a file is absent, StepError when the held-out rows are not every user's last ones."""
    recipe = settings.recipe.data
    found = inputs.read_inputs(settings, (*inputs.PAST, Split.ONLINE))
    data = found.data
    held_out = data.positions >= np.repeat(data.lengths - recipe.online_last, data.lengths)
    split = artifacts.RATINGS.read(settings.exchange_dir, [Columns.SPLIT])[Columns.SPLIT]
    if not np.array_equal(held_out, (split == Split.ONLINE).to_numpy()):
        raise StepError(
            f"ratings.parquet: the online rows are not the last {recipe.online_last} of every user; "
            "run offline/preprocess/s1_data_split.py again."
        )
    return found
