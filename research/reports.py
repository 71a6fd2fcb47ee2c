"""Reports of measurements: whether they are current, resumed where a run was interrupted, drawn, printed as tables."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.table import Table

from data_exchange_center import artifacts
from data_exchange_center.figures import FIGURES, ROOT, digest, machine, recipe_of

log = logging.getLogger(__name__)

PICTURES: Final = FIGURES.parent
COLOURS: Final = ("#3b6fb6", "#d1622b", "#3a8f5c", "#8a5aa8", "#7a7a7a")
UNFINISHED: Final = "not finished"


def stale(figure: Mapping[str, Any], here: Mapping[str, Any] | None = None) -> str:
    """Why a figure has to be measured again; empty where it is current, or cannot be measured here.

    Args:
        here: the `machine` that it should have been measured on.
    """
    if "command" not in figure or "ended" in figure:  # of others, or of a study whose code is gone
        return ""
    age = figure.get("measured")
    if age is None:
        return "age unknown"
    if not all((ROOT / name).exists() for name in age["code"]) or digest(tuple(age["code"])) != age["digest"]:
        return "the code has changed"
    if here is not None and figure["machine"] != here:
        return "measured on another machine"
    if recipe_of(figure) != age["recipe"]:
        return "the recipe has changed"
    return "" if age["finished"] else UNFINISHED


def drawn_from(path: Path) -> dict[str, str | None]:
    """Metadata of a PNG that is drawn from a figure: ``Figure`` is the digest of the file."""
    return {"Software": None, "Figure": hashlib.sha256(path.read_bytes()).hexdigest()[:12]}


def resumed(path: Path, head: Mapping[str, Any], empty: Mapping[str, Any]) -> dict[str, Any]:
    """``head`` and the parts that an earlier run has measured, if its report is of the same and still current.

    Args:
        empty: name -> value of each part before anything is measured.
    """
    found = {**head, **deepcopy(dict(empty))}
    if not path.is_file():
        return found
    before = json.loads(path.read_text(encoding="utf-8"))
    why = stale(before, machine()) if head.items() <= before.items() else "it is of other data, or of other requests"
    if why in ("", UNFINISHED):
        return found | {name: before[name] for name in empty if name in before}
    log.warning("%s is begun again: %s", path, why)
    return found


def mean_of(value: Any) -> float:
    """A mean over users; what is of all together is its own."""
    return float(value["mean"] if isinstance(value, Mapping) else value)


def table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], title: str = "") -> Table:
    """A column a key; empty where a row has no such key."""
    shown = Table(box=box.SIMPLE, pad_edge=False, title=title)
    for key in keys:
        shown.add_column(key, justify="right", overflow="fold")
    for row in rows:
        values = (row.get(key, "") for key in keys)
        shown.add_row(*(f"{value:.5g}" if isinstance(value, float) else str(value) for value in values))
    return shown


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
