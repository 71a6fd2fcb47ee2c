"""What recommenders are worth, offline: ``make evaluate-offline``, after ``make offline``.

Fits recall and ranker on everything before each user's last ten ratings and looks for what the user liked among those
ten. The source's recipe comes from the artifacts as they stand; popularity, item-kNN and EASE are fitted here.

Reads:  offline/{ratings,items,users}.parquet and what the source's recipe serves from
Writes: pic/figures/evaluation.json
Run:    python -m offline.evaluation
Expect: five minutes on MovieLens-1M; recall@200 of the new stages above 0.70, of popularity 0.395
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_exchange_center import artifacts
from data_exchange_center.machine import machine
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.item_item import ease, item_knn
from offline.evaluation import replay
from offline.evaluation.inputs import read_inputs
from offline.evaluation.source import source_lists
from offline.evaluation.stages import StagesConfig, answer, fit_stages

log = logging.getLogger(__name__)

REPORT = Path(__file__).resolve().parents[2] / "pic" / "figures" / "evaluation.json"
SHOWN = ("recall@200", "recall@50", "ndcg@50", "hit_rate@50")
BASELINE = "popularity"


def evaluate(settings: Settings, config: StagesConfig) -> dict[str, Any]:
    """The whole report. Raises ArtifactError or StepError when `make offline` has not run."""
    seconds: dict[str, float] = {}
    inputs = read_inputs(settings)
    held = replay.held_out(inputs.data, settings.recipe.data.online_last)
    past, size = held.past, config.candidates
    with _timed("baselines", seconds):
        baselines = {
            BASELINE: replay.popular_lists(past, size),
            "item-kNN": replay.item_item_lists(past, item_knn(past.seen()), size),
            "EASE": replay.item_item_lists(past, ease(past.seen()), size),
        }
    with _timed("source's recipe", seconds):
        source_recalled, source_ranked = source_lists(settings, past)
    with _timed("fitting the new stages", seconds):
        stages = fit_stages(past, inputs, config)
    with _timed("answers of the new stages", seconds):
        answers = answer(stages, past, inputs, config)
    systems = {
        **baselines,
        "source: recall": source_recalled,
        "source: ranked": source_ranked,
        **{f"channel {name}": lists for name, lists in answers.channels.items()},
        "new: fused": answers.fused,
        "new: ranked": answers.ranked,
    }
    log.info("metrics of %d systems", len(systems))
    found = replay.report(
        held,
        systems,
        channels=answers.channels,
        fused=answers.fused,
        ranked=answers.ranked,
        genres=inputs.genres.astype("float64"),
        baseline=BASELINE,
    )
    return {
        "command": "make evaluate-offline",
        "machine": machine(),
        "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
        "table": {
            name: {metric: system[metric]["mean"] for metric in SHOWN if metric in system}
            for name, system in found["systems"].items()
        },
        "seconds": seconds,
        "config": asdict(config),
        **found,
    }


@contextmanager
def _timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    log.info("%s", what)
    begin = time.perf_counter()
    yield
    seconds[what] = round(time.perf_counter() - begin, 1)
    log.info("%s: %.1f s", what, seconds[what])


def plain(value: Any) -> Any:
    """Four significant digits a number; null where nobody could be measured: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def show(found: dict[str, Any], console: Console) -> None:
    table = Table(title=f"the last ten of {found['users']:,} users of {found['dataset']}")
    table.add_column("", no_wrap=True)
    for name in (*SHOWN, "returning: recall@200"):
        table.add_column(name, justify="right")
    for name, row in found["table"].items():
        returning = found["slices"][name]["returning"].get("recall@200", {}).get("mean")
        values = (*(row.get(metric) for metric in SHOWN), returning)
        table.add_row(name, *("-" if value is None else f"{value:.4f}" for value in values))
    console.print(table)


def main(settings: Settings) -> None:
    found = plain(evaluate(settings, StagesConfig()))
    with artifacts.written_in_place(REPORT) as temporary:
        temporary.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    show(found, Console())
    log.info("written: %s", REPORT)


if __name__ == "__main__":
    run(main)
