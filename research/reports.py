"""Reports of measurements: those that grow while a command runs are resumed by the next run; tables to be printed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from data_exchange_center.figures import UNFINISHED, machine, stale

log = logging.getLogger(__name__)


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
