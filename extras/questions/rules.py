"""Stock and business rules: hide items from every answer, boost others.

A file names them, and Redis keeps them, by data set. Each worker polls for changes twice a second, on a thread of its
own: a change needs no release, and without rules no request runs this code. While Redis is away the last rules hold.

A boosted item moves to half its rank, rounded down: the 40th becomes the 20th. One that recall does not find is not
added.

    hidden = [1, 2]        # the data set's own ids
    boosted = [50]

Reads   the file; the live release's catalogue
Writes  the rules, to Redis
Run     make rules file=rules.toml; make rules prints those that hold; make rules clear=1
Expect  the rules, with the titles of their items; one that the live release does not have may come with the next. A
        file that is wrong, or without items, changes nothing: only clear=1 clears the rules
"""

from __future__ import annotations

import argparse
import logging
import tomllib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from data_exchange_center import steps
from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings
from extras.questions.rank import kept
from extras.routes import per_release
from online.clients.base import ServiceError
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers, connect
from online.recommend.loaded_release import (
    Release,
    read_catalogue,
    read_published,
)
from online.recommend.outcomes import NoReleaseError
from online.recommend.phases import Hook
from online.recommend.recommend import Recommender
from online.recommend.releases import NONE_ACTIVE
from online.recommend.types import Request, Slate, UserId

log = logging.getLogger(__name__)

Ids = NDArray[np.int64]


class RuleList(BaseModel):
    """Own ids of hidden and of boosted items."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    hidden: list[UserId] = []
    boosted: list[UserId] = []

    def __bool__(self) -> bool:
        return bool(self.hidden or self.boosted)


def rules_key(dataset: str) -> str:
    """String: a `RuleList`, as JSON; or absent."""
    return f"ml:rules:{dataset}"


class Rules:
    """The rules that hold in a process, and what they do to answers. Shared by threads."""

    def __init__(self, recommender: Recommender) -> None:
        self._users, self._releases = recommender.users, recommender.releases
        self._raw: tuple[str, bytes] | None = None  # data set, and what Redis had last
        self.numbers = numbers_of("", RuleList())
        phases = recommender.phases
        self._hooks: list[Hook[Any]] = [
            phases.recall.append(self.leave_out_hidden),
            phases.candidates.append(self.drop_hidden, "candidates"),
            phases.rerank.append(self.reorder),
        ]

    def look(self) -> bool:
        """Read changed rules from Redis; False if it does not answer, or holds invalid ones."""
        serving = self._releases.active
        if serving is None:
            return True
        dataset = serving.manifest.dataset.base_name
        key = rules_key(dataset)
        try:
            found = dataset, self._users.value(key)
            if found == self._raw:
                return True
            rules = RuleList.model_validate_json(found[1] or b"{}")
        except ServiceError:
            return False
        except ValidationError as error:
            log.error("%s cannot be read, the last rules hold: %s", key, error)
            return False
        self._raw, self.numbers = found, numbers_of(dataset, rules)
        for hook in self._hooks:
            hook.needed = bool(rules)
        hidden, boosted = len(rules.hidden), len(rules.boosted)
        log.info(
            "rules of %s: %d items are hidden, %d boosted", dataset, hidden, boosted
        )
        return True

    # applying them

    def leave_out_hidden(
        self, request: Request, opened: Release, user: StoredUser
    ) -> StoredUser:
        """The user, with hidden items among those that are left out of the search."""
        hidden, _ = self.numbers(opened)
        if user.is_blank or not len(hidden):
            return user
        return user.without(hidden)

    def drop_hidden(
        self, request: Request, opened: Release, user: StoredUser, found: Candidates
    ) -> Candidates:
        """The candidates of a client, without hidden ones."""
        hidden, _ = self.numbers(opened)
        return found.only(~np.isin(found.item_numbers, hidden))

    def reorder(self, slate: Slate) -> None:
        """Take hidden items off a list, and move boosted ones up."""
        places = self.order(slate.release, slate.ranked.item_numbers)
        slate.ranked = kept(slate.ranked, places)

    def order(self, opened: Release, itemids: NDArray[np.integer]) -> NDArray[np.intp]:
        """Places of a list's items in the order of the rules: `Parts.in_order`."""
        hidden, boosted = self.numbers(opened)
        return in_order(np.isin(itemids, hidden), np.isin(itemids, boosted))


def numbers_of(dataset: str, rules: RuleList) -> Callable[[Release], tuple[Ids, Ids]]:
    """A function that gives the numbers of the hidden and of the boosted items that a release knows."""

    @per_release
    def numbers(opened: Release) -> tuple[Ids, Ids]:
        if opened.manifest.dataset.base_name != dataset:
            return opened.known([]), opened.known([])
        return opened.known(rules.hidden), opened.known(rules.boosted)

    return numbers


def in_order(hidden: NDArray[np.bool_], boosted: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Places of a list's n items, best first, without the hidden ones and with the boosted ones at half their place."""
    left = np.flatnonzero(~hidden)  # (m,)
    moved, places = boosted[left], np.arange(1, len(left) + 1)
    order = np.lexsort(
        (places, ~moved, np.where(moved, np.maximum(places // 2, 1), places))
    )
    chosen: NDArray[np.intp] = left[order]
    return chosen


# make rules


class RuleProblemError(RecsysError):
    """The rules cannot be read. Nothing was written."""


def read(path: Path) -> RuleList:
    """Read a file of rules. Raises RuleProblemError, for an empty file too."""
    expected = "Expected: TOML with hidden = [1, 2] and boosted = [50], lists of the data set's own item ids."
    try:
        rules = RuleList.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][:2]))
        raise RuleProblemError(f"{path}: {place}: {first['msg']}", expected) from error
    except (ValueError, OSError) as error:
        raise RuleProblemError(f"{path} cannot be read: {error}", expected) from error
    if not rules:
        raise RuleProblemError(
            f"{path} names no item, so the rules stay as they are.",
            "To clear all rules: make rules clear=1",
        )
    if both := set(rules.hidden) & set(rules.boosted):
        names = ", ".join(sorted(map(str, both))[:20])
        raise RuleProblemError(f"{path}: both hidden and boosted: {names}")
    return rules


def main(settings: Settings, arguments: Sequence[str] | None = None) -> None:
    """Raises RuleProblemError, NoReleaseError, ServiceError."""
    parser = argparse.ArgumentParser(
        prog="make rules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--file", type=Path, help="TOML with hidden and boosted")
    chosen.add_argument("--clear", action="store_true", help="delete all rules")
    options = parser.parse_args(arguments)
    with (
        closing(RedisUsers(settings.redis)) as users,
        closing(ElasticItems(settings.elasticsearch)) as items,
    ):
        live = users.control().active
        if live is None or (published := read_published(users, live)) is None:
            raise NoReleaseError(NONE_ACTIVE)
        dataset = published.manifest.dataset.base_name
        titles = {
            item.own_id: item.title for item in read_catalogue(items, live).values()
        }
        if options.file or options.clear:
            rules = read(options.file) if options.file else RuleList()
            with closing(connect(settings.redis)) as client:
                client.set(rules_key(dataset), rules.model_dump_json())
        rules = RuleList.model_validate_json(users.value(rules_key(dataset)) or b"{}")
    console = Console(highlight=False)
    console.print(
        f"Rules of {dataset}: {len(rules.hidden)} items are hidden, {len(rules.boosted)} boosted."
    )
    for what, own_ids in rules:
        for own in own_ids:
            title = titles.get(own, "(not in the live release)")
            console.print(f"  {what}  {own}  {title}", markup=False)


if __name__ == "__main__":
    steps.run(main)
