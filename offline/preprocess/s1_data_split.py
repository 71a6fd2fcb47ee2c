"""Step 1: label the ratings and split them in time.

In industry: the click log of a day, joined and split on Spark. Here a rating above the data set's own threshold is a
click; in MovieLens, one above 3. The last interactions of every user, ten in MovieLens, are held out for evaluation;
the first 80 % of the rest are "train" and the last 20 % "test": the recipe source tests its models on the latter, the
recipe default learns from both. Feedback that the server collected is merged in, trains, and is
never held out. Data that cannot be trained on is refused here.

Reads:  offline/raw/dataset.json; offline/raw/{interactions,users,items}.parquet; offline/events.parquet
Writes: offline/{ratings,users,items}.parquet, offline/split_report.json
Run:    cd offline/preprocess && python s1_data_split.py
Expect: 575,281 positive, 424,928 negative; 754,233 train, 185,576 test, 60,400 holdout (MovieLens-1M)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
from pydantic import Field

from data_exchange_center import artifacts, provenance, release_parts, steps
from data_exchange_center.columns import Split
from data_exchange_center.dataset import Dataset
from data_exchange_center.settings import ExtensionSettings, Settings
from offline.data.split import (
    Counted,
    counted,
    label_and_split,
    require_memory,
    validate_data,
)
from offline.feedback import merge


class PandasSettings(ExtensionSettings, env_prefix="RECSYS_PANDAS__"):
    """Limits of this step, which computes in memory."""

    # GB (1e9 bytes) that a data set may take; left out: what is free. A larger one is refused before it is read
    memory_gb: Annotated[float, Field(gt=0)] | None = None


def main(settings: Settings) -> None:
    folder = settings.artifacts_dir
    read = provenance.made_from(folder, settings.recipe, provenance.SPLIT)
    dataset = described(folder, read)
    rows = pq.read_metadata(artifacts.RAW_INTERACTIONS.at(folder)).num_rows
    require_memory(rows, PandasSettings.load().memory_gb)

    # the data set, and the server's feedback merged into it
    ratings, users, items = (table.read(folder) for table in artifacts.RAW)
    recorded = None  # (rows,) which ratings are feedback
    if len(events := artifacts.EVENTS.read(folder)):
        merged = merge(dataset, ratings, users, items, events)
        ratings, users, recorded = merged.ratings, merged.users, merged.recorded

    # labels and split
    split = label_and_split(
        ratings, dataset, settings.recipe.data.train_share, recorded
    )
    found = counted(split)
    validate_data(found, dataset, settings.recipe)

    artifacts.RATINGS.write(folder, split)
    artifacts.USERS.write(folder, users)
    artifacts.ITEMS.write(folder, items)
    artifacts.SPLIT_REPORT.write(folder, read)
    print(provenance.SPLIT.account(folder, settings.recipe))
    say(found)


def described(folder: Path, read: Mapping[str, Any]) -> Dataset:
    """Read step 0's `Dataset`. ``read``: `provenance.made_from`. Raises StepError when a table has changed since."""
    dataset = release_parts.read_dataset(folder)
    for table in artifacts.RAW:
        if read[provenance.INPUTS][table.path] != dataset.sha256.get(
            Path(table.path).name
        ):
            raise steps.StepError(
                f"{table.at(folder)} is not the one that dataset.json describes: run s0_get_data.py again."
            )
    return dataset


def say(found: Counted) -> None:
    """Print the counts."""
    print(f"{found.liked:,} positive, {found.events - found.liked:,} negative")
    print(
        ", ".join(
            f"{found.parts.get(part, 0):,} {part}"
            for part in (Split.TRAIN, Split.TEST, Split.HOLDOUT)
        )
    )
    if recorded := found.parts.get(Split.RECORDED, 0):
        print(f"{recorded:,} of the server's feedback, all for training")
    if found.single:
        print(f"users with a single event: {found.single:,}")


if __name__ == "__main__":
    steps.run(main, about=__doc__)
