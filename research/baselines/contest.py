"""The comparison: each baseline's search for a setting, its row on the last ten, and the best fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from research.baselines.contract import Fitted, Rival, Setting
from research.baselines.fused import fused, greedy
from research.baselines.report import Report, measured, values
from research.baselines.search import Measured, best, over, searched

FUSION: Final = "the best fusion of them"


@dataclass(frozen=True, eq=False)
class Contest:
    """Holdouts for choices and for measurements, and the report so far."""

    chosen_on: Holdout
    measured_on: Holdout
    report: Report

    def enter(self, rival: Rival) -> None:
        """The row of the best so far, the search for a setting, and the row of the best."""
        tried = self.report.tried(rival.name)
        self._measure(rival)
        for entry in searched(rival, tried, partial(self._try, rival)):
            self.report.add_tried(rival.name, entry)
            self._told(rival)
        self._measure(rival)

    def _try(self, rival: Rival, setting: Setting) -> Measured:
        found = rival.fit(self.chosen_on, setting)
        return {**measured(self.chosen_on, found.lists), "seconds": round(found.seconds, 1)}

    def _measure(self, rival: Rival) -> None:
        """The row of the best setting so far, unless it is there."""
        setting, row = best(self.report.tried(rival.name), rival), self.report.row(rival.name)
        if row is None or row["setting"] != setting:
            self._set_row(rival.name, setting, rival.fit(self.measured_on, setting))
        self._told(rival)

    def _told(self, rival: Rival) -> None:
        tried = self.report.tried(rival.name)
        self.report.found["rows"][rival.name] |= {"settings tried": len(tried), "searched": over(rival, tried)}
        self.report.write()

    def _set_row(self, name: str, setting: Setting, found: Fitted) -> None:
        row = {"setting": dict(setting), "seconds": round(found.seconds, 1), **measured(self.measured_on, found.lists)}
        self.report.set_row(name, row, values(self.measured_on, found.lists))

    def fuse(self, rivals: Sequence[Rival]) -> None:
        """Add the row of the best fusion of the baselines as they are chosen, unless it is there."""
        members = {rival.name: dict(best(self.report.tried(rival.name), rival)) for rival in rivals}
        row, whole = self.report.row(FUSION), all(self.report.found["rows"][rival.name]["searched"] for rival in rivals)
        if row is not None and row["setting"]["of"] == members and row["searched"] == whole:
            return
        before = self._lists(rivals, members, self.chosen_on)
        n_items = self.chosen_on.past.n_items
        weights, tried = greedy(before, lambda lists: float(np.nanmean(values(self.chosen_on, lists))), n_items)
        taken = [rival for rival in rivals if rival.name in weights]
        now = self._lists(taken, members, self.measured_on)
        seconds = sum(self.report.found["rows"][rival.name]["seconds"] for rival in taken)
        found = Fitted(fused(now, weights, n_items), seconds)
        self._set_row(FUSION, {"weights": weights, "of": members}, found)
        self.report.found["rows"][FUSION] |= {"settings tried": len(tried), "searched": whole}
        self.report.write()

    @staticmethod
    def _lists(rivals: Sequence[Rival], settings: dict[str, Any], holdout: Holdout) -> dict[str, Lists]:
        return {rival.name: rival.fit(holdout, settings[rival.name]).lists for rival in rivals}
