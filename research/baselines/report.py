"""The report on baselines, written whenever something is measured, so that an interrupted run resumes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_exchange_center.figures import machine
from data_exchange_center.files import write_json
from offline.evaluation import metrics
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.report import per_user, plain, summary
from research.baselines.search import SELECTED_BY, Measured
from research.experiments.fitted import packed, resumed, unpacked

log = logging.getLogger(__name__)


def values(holdout: Holdout, lists: Lists) -> Floats:
    """(users,) of `SELECTED_BY`, the lists being judged."""
    return per_user(holdout.relevance, holdout.judged(lists))[SELECTED_BY]


def measured(holdout: Holdout, lists: Lists) -> dict[str, Any]:
    """The headline means."""
    return plain(summary(holdout, lists))


class Report:
    """One file: the tried settings of each baseline, and its row on the last ten."""

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        """``head``: with the `digest` of the cuts as ``cuts``."""
        self.path = path
        self.found = resumed(path, head, ("rows", "tried", "references", "own"))

    def tried(self, rival: str) -> list[Measured]:
        found: list[Measured] = self.found["tried"].setdefault(rival, [])
        return found

    def add_tried(self, rival: str, entry: Measured) -> None:
        self.tried(rival).append(plain(entry))
        log.info("%s: %s %.4f, %s", rival, SELECTED_BY, entry[SELECTED_BY], entry["setting"])

    def row(self, rival: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.found["rows"].get(rival)
        return found

    def set_row(self, rival: str, row: Mapping[str, Any], of_users: Floats) -> None:
        """``of_users``: `SELECTED_BY` of each user."""
        compared = self._compared(packed(of_users))
        self.found["rows"][rival] = {**plain(row), "machine": machine()["cpu"], **compared}

    @property
    def release(self) -> str | None:
        """Release that the rows are compared with; None before `refer_to`."""
        release: str | None = self.found["own"].get("release")
        return release

    def refer_to(self, release: str, references: Mapping[str, Mapping[str, Any]], of_users: Floats) -> None:
        """Compare every row with a release's ranked lists; ``references``: its own rows."""
        self.found["references"] = plain(references)
        self.found["own"] = {"release": release, "of users": packed(of_users)}
        for row in self.found["rows"].values():
            row |= self._compared(row["of users"])

    def _compared(self, of_users: str) -> dict[str, Any]:
        own = unpacked(self.found["own"]["of users"])
        return {"to the recipe": plain(asdict(metrics.compare(unpacked(of_users), own))), "of users": of_users}

    def write(self) -> None:
        write_json(self.path, self.found)
