"""The experiments with the source's two models: what is chosen is chosen on the validation part of the training rows.

tune     both models with one setting changed at a time; the test rows are not read   -> offline_tuning.json
seeds    both models with three seeds                                                  -> offline_seeds.json
ratings  the ranker with columns that say how a rating fits the user's earlier ones    -> rating_prediction.json

Reads:  what the three steps of offline/preprocess write
Writes: pic/figures/*.json
Run:    python -m research.experiments tune | seeds | ratings
Expect: half an hour; two minutes; ten minutes, test AUC above 0.835 with the added columns (MovieLens-1M)
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_exchange_center import artifacts
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.machine import machine
from data_exchange_center.recipes import SOURCE
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.sanity import counted, expect_sense
from research.experiments.click_model_seeds import seeds
from research.experiments.ratings import ratings
from research.experiments.tune import tune

log = logging.getLogger(__name__)

EXPERIMENTS: dict[str, tuple[Callable[[Settings], dict[str, Any]], str]] = {
    "tune": (tune, "offline_tuning.json"),
    "seeds": (seeds, "offline_seeds.json"),
    "ratings": (ratings, "rating_prediction.json"),
}


def experiment(what: str, settings: Settings, figures: Path = FIGURES) -> None:
    """Run one of `EXPERIMENTS` and write what it found into ``figures``."""
    measure, name = EXPERIMENTS[what]
    dataset = read_dataset(settings.exchange_dir)
    expect_sense(counted(artifacts.RATINGS.read(settings.exchange_dir)), dataset, SOURCE)  # whose models these are
    found = {"command": f"make {what}", "machine": machine(), "dataset": dataset.name, **measure(settings)}
    write_json(figures / name, found)
    log.info("written: %s", figures / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=EXPERIMENTS)
    what: str = parser.parse_args().what
    run(lambda settings: experiment(what, settings))


if __name__ == "__main__":
    main()
