"""Reports that grow while a command runs: the next run of the command resumes from what it has written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from data_exchange_center.figures import OTHER_RECIPE, UNFINISHED, machine, stale

log = logging.getLogger(__name__)


def resumed(
    path: Path, head: Mapping[str, Any], empty: Mapping[str, Any], *, any_recipe: bool = False
) -> dict[str, Any]:
    """``head`` and the parts that an earlier run has measured, if its report is of the same and still current.

    Args:
        empty: name -> value of each part before anything is measured.
        any_recipe: whether a report stays current when the recipe changes.
    """
    found = {**head, **deepcopy(dict(empty))}
    if not path.is_file():
        return found
    before = json.loads(path.read_text(encoding="utf-8"))
    why = stale(before, machine()) if head.items() <= before.items() else "it is of other data, or of other requests"
    if why in ("", UNFINISHED) or (any_recipe and why == OTHER_RECIPE):
        return found | {name: before[name] for name in empty if name in before}
    log.warning("%s is begun again: %s", path, why)
    return found
