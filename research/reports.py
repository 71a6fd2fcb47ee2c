"""Reports of measurements: resume them, write them, print them as in docs/results."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from data_exchange_center import artifacts
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from offline import movielens
from offline.evaluation.replay import Holdout
from research.figure_files import FIGURES, commit, is_finished, machine, named, write_figure
from research.figures.tables import Figure

log = logging.getLogger(__name__)

PICTURES: Final = FIGURES.parent
COLOURS: Final = ("#3b6fb6", "#d1622b", "#3a8f5c", "#8a5aa8", "#7a7a7a")


def drawn_from(path: Path) -> dict[str, str | None]:
    """Metadata of a PNG that is drawn from a figure: ``Figure`` is the digest of what the file has measured."""
    figure = json.loads(path.read_text(encoding="utf-8"))
    values = {name: value for name, value in figure.items() if name not in ("command", "machine", "measured")}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    return {"Software": None, "Figure": digest}


def resumed(path: Path, head: Mapping[str, Any], empty: Mapping[str, Any]) -> dict[str, Any]:
    """``head`` and the parts that an interrupted run of the same commit, on the same machine, has measured.

    Args:
        empty: name -> value of each part before anything is measured.
    """
    found = {**head, **deepcopy(dict(empty))}
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not before or is_finished(before):
        return found
    if head.items() <= before.items() and before["measured"]["commit"] == commit() and before["machine"] == machine():
        return found | {name: before[name] for name in empty if name in before}
    log.warning("%s is begun again: it is of another commit, machine, data set or request", path)
    return found


def head(command: str, settings: Settings, recipe: Recipe, users: Holdout | None = None) -> dict[str, Any]:
    """Head of every report: command, data set, recipe; with ``users``, how many of them have a target."""
    counted = {} if users is None else {"users": int(np.count_nonzero(np.diff(users.relevance.indptr)))}
    dataset = artifacts.DATASET.read(settings.exchange_dir)["name"]
    return {"command": command, "dataset": dataset, "recipe": recipe.name, **counted}


def figure(found: Mapping[str, Any], settings: Settings, kind: str = "evaluation") -> Path:
    """Path of a report: its name carries the recipe unless it is the default, and the data set unless it is ML-1M; in
    `FIGURES`, or with the artifacts where the data set is not published."""
    name, dataset = named(kind, found["recipe"]), found["dataset"]
    if dataset in movielens.SETS:
        return FIGURES / (f"{name}.json" if dataset == movielens.ML_1M else f"{name}_{dataset}.json")
    return settings.offline_dir / "evaluation" / f"{name}_{dataset}.json"


def figure_of_study(found: Mapping[str, Any], settings: Settings, kind: str, *, part: bool) -> Path:
    """`figure`; with ``part``, where that is of a finished study, a path with the artifacts: a part of a study does not
    replace all of it."""
    path = figure(found, settings, kind)
    if not (part and path.is_file()):
        return path
    finished = is_finished(json.loads(path.read_text(encoding="utf-8")))
    return settings.offline_dir / "evaluation" / path.name if finished else path


def write(found: Mapping[str, Any], settings: Settings, kind: str) -> None:
    """Write a report to the path `figure`, and log that."""
    path = figure(found, settings, kind)
    write_figure(path, found)
    log.info("written: %s", path)


def publish(path: Path, found: Mapping[str, Any], draw: Callable[[Figure], str]) -> None:
    """Write a finished report and print it."""
    write_figure(path, found)
    show(found, draw)
    log.info("written: %s", path)


def show(found: Mapping[str, Any], draw: Callable[[Figure], str]) -> None:
    """Print a report; ``draw``: its block of docs/results."""
    Console(width=max(Console().width, 140)).print(Markdown(draw({**found, "machine": machine()})))


def read_model_reports(exchange_dir: Path) -> dict[str, dict[str, Any]]:
    """Name of each channel, kind of the ranker -> its report. Raises ArtifactError when they are not trained."""
    rank = artifacts.RANK_REPORT.read(exchange_dir)
    return {**artifacts.RECALL_REPORT.read(exchange_dir)["channels"], rank["model"]["kind"]: rank}


def whole_numbers(text: str) -> tuple[int, ...]:
    """``"1,4,16"`` -> (1, 4, 16): ascending, each once; for ``type=`` of an argument."""
    parts = text.split(",")
    if all(each.strip().isdecimal() and int(each) > 0 for each in parts):
        return tuple(sorted(set(map(int, parts))))
    raise argparse.ArgumentTypeError(f"whole numbers from 1 on with commas between are expected, found {text!r}")
