"""The popular list of the release that was active last, on the server's own disk: for a start without services."""

import logging
from pathlib import Path

from pydantic import BaseModel, ValidationError

from data_exchange_center.files import written_in_place
from online.recommend.loaded_release import Release
from online.recommend.types import MAX_SIZE, Item, items_of

log = logging.getLogger(__name__)


class SavedPopular(BaseModel, frozen=True, extra="forbid"):
    """A release's popular list, with all that is shown of the items."""

    release: str
    item_list: list[Item]  # best first


class LastRelease:
    """The file with the list.

    Attributes:
        path: None: the list is kept in memory alone.
        saved: None where the file is missing or cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.saved: SavedPopular | None = None
        if path is None:
            return
        try:
            self.saved = SavedPopular.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValidationError) as error:
            log.warning(
                "%s cannot be read, so there is no popular list if services are down at the start: %s", path, error
            )

    def keep(self, opened: Release) -> None:
        """Write the release's popular list, unless it is what the file holds. A disk that is full is only logged."""
        items = items_of(opened.catalogue, opened.popular.ids[:MAX_SIZE], opened.popular.scores[:MAX_SIZE])
        if (saved := SavedPopular(release=opened.release, item_list=items)) == self.saved:
            return
        self.saved = saved
        if self.path is None:
            return
        try:
            with written_in_place(self.path) as temporary:
                temporary.write_text(saved.model_dump_json(), encoding="utf-8")
        except OSError as error:
            log.warning("the popular list of release %s cannot be kept in %s: %s", saved.release, self.path, error)
