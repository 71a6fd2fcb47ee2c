"""Step 1: label the ratings and split them in time.

In industry: the click log of a day, joined and split on Spark. Here a rating above the data set's own threshold is a
click, of MovieLens one above 3. The last interactions of every user, of MovieLens ten, are held out for evaluation; of
the rest the first 80 % train and the last 20 % test. What servers were told trains, and is never held out. What would
make nonsense is refused here, before it is trained.

Reads:  offline/raw/dataset.json and the files that it lists; offline/events.parquet
Writes: offline/{ratings,users,items}.parquet, offline/split_report.json
Run:    cd offline/preprocess && python s1_data_split.py
Expect: 575,281 positive, 424,928 negative; 754,233 train, 185,576 test, 60,400 holdout (MovieLens-1M)
"""

from __future__ import annotations

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Split
from data_exchange_center.files import sha256
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline import engines, published
from offline.data.sanity import expect_sense
from offline.ingestion import sources


def main(settings: Settings) -> None:
    read = provenance.made_from(settings.exchange_dir, settings.recipe, provenance.SPLIT)
    dataset = read_dataset(settings.exchange_dir)
    raw = settings.offline_dir / "raw"
    for file, digest in dataset.sha256.items():
        if not (raw / file).is_file() or sha256(raw / file) != digest:
            raise StepError(f"{raw / file} is not the file that dataset.json describes: run s0_get_data.py again.")
    with sources.opened(raw, dataset.sha256) as source, engines.chosen(settings) as engine:
        joined = engine.ingest(source).join(artifacts.EVENTS.read(settings.exchange_dir))
        if joined.dataset != dataset.model_copy(update={"name": joined.dataset.name, "origin": "", "sha256": {}}):
            raise StepError("dataset.json was made by another version of the steps: run s0_get_data.py again.")
        tables = joined.split(dataset, settings.recipe.data.train_share)
        found = tables.counted()
        labels = {"positive": found.liked, "negative": found.events - found.liked}
        split = {part: found.parts.get(part, 0) for part in (Split.TRAIN, Split.TEST, Split.HOLDOUT)}
        published.expect(dataset.name, "labels", labels, published.ML_1M_LABELS)
        published.expect(dataset.name, "split", split, published.ML_1M_SPLIT)
        expect_sense(found, dataset, settings.recipe)
        tables.write(settings.exchange_dir)
    artifacts.SPLIT_REPORT.write(settings.exchange_dir, read)
    print(", ".join(f"{count:,} {name}" for name, count in labels.items()))
    print(", ".join(f"{count:,} {name}" for name, count in split.items()))
    if recorded := found.parts.get(Split.RECORDED, 0):
        print(f"{recorded:,} that servers were told, all of which train")
    if found.single:
        print(f"users with a single event: {found.single:,}")


if __name__ == "__main__":
    engines.run(main)
