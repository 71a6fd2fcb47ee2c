"""The popular list of the release that was opened last, on the server's own disk: what is left when nothing answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data_exchange_center.files import written_in_place
from online.clients.elastic import CatalogueItem
from online.recommend.open_release import OpenRelease
from online.recommend.types import MAX_SIZE

log = logging.getLogger(__name__)


class Saved(BaseModel):
    """A release's popular list, with all that is shown of the items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str
    items: tuple[tuple[int, float, CatalogueItem], ...]  # number, score, best first


@dataclass
class LastRelease:
    """The file ``path``, and what is in it. A file that is missing or cannot be read is none."""

    path: Path

    def __post_init__(self) -> None:
        self.saved = self._read()

    def _read(self) -> Saved | None:
        try:
            return Saved.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read, so that it is no help when services are away: %s", self.path, error)
            return None

    def keep(self, opened: OpenRelease) -> None:
        """Write the release's popular list, unless it is what the file holds. A disk that is full is only logged."""
        ids, scores = opened.popular.ids[:MAX_SIZE].tolist(), opened.popular.scores[:MAX_SIZE].tolist()
        items = tuple((itemid, score, opened.catalogue[itemid]) for itemid, score in zip(ids, scores, strict=True))
        saved = Saved(release=opened.release, items=items)
        if saved == self.saved:
            return
        self.saved = saved
        try:
            with written_in_place(self.path) as temporary:
                temporary.write_text(saved.model_dump_json(), encoding="utf-8")
        except OSError as error:
            log.warning("the popular list of release %s cannot be kept in %s: %s", saved.release, self.path, error)
