"""Stock and business rules: hide items from every answer, boost others.

A file names them, and Redis keeps them, by data set. Each worker polls for changes twice a second, on a thread of its
own: a change needs no release, and without rules no request runs this code. While Redis is away the last rules hold.

A boosted item moves to half its rank, rounded down: the 40th becomes the 20th. One that recall does not find is not
added.

    hidden = [1, 2]        # the data set's own ids
    boosted = [50]

Reads   the file
Writes  the rules, to Redis
Run     make rules file=rules.toml; make rules prints those that hold; make rules clear=1
Expect  the rules that hold. Ids that the live release does not have may come with the next. A file that is wrong, or
        without items, changes nothing: only clear=1 clears the rules
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

from data_exchange_center import steps
from data_exchange_center.candidates import StoredUser
from data_exchange_center.settings import Settings
from extras.published import active_manifest
from extras.questions.rank import kept
from extras.routes import per_release
from online.clients.base import ServiceError
from online.clients.redis import RedisUsers, connect
from online.recommend.loaded_release import Release
from online.recommend.phases import Hook
from online.recommend.recommend import Recommender
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
        self._raw: bytes | None = None  # what Redis had last
        self.numbers = numbers_of(RuleList())
        phases = recommender.phases
        self._hooks: list[Hook[Any]] = [
            phases.recall.append(self.leave_out_hidden),
            phases.rerank.append(self.reorder),
        ]

    def look(self) -> bool:
        """Read changed rules from Redis; False if it does not answer, or holds invalid ones."""
        serving = self._releases.active
        if serving is None:
            return True
        key = rules_key(serving.dataset)
        try:
            raw = self._users.value(key)
            if raw == self._raw:
                return True
            rules = RuleList.model_validate_json(raw or b"{}")
        except ServiceError:
            return False
        except ValidationError as error:
            log.error("%s cannot be read, the last rules hold: %s", key, error)
            return False
        self._raw, self.numbers = raw, numbers_of(rules)
        for hook in self._hooks:
            hook.needed = bool(rules)
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

    def reorder(self, slate: Slate) -> None:
        """Take hidden items off a list, and move boosted ones up."""
        places = self.order(slate.release, slate.ranked.item_numbers)
        slate.ranked = kept(slate.ranked, places)

    def order(self, opened: Release, itemids: NDArray[np.integer]) -> NDArray[np.intp]:
        """Places of a list's items in the order of the rules: `Parts.in_order`."""
        hidden, boosted = self.numbers(opened)
        left = np.flatnonzero(~np.isin(itemids, hidden))  # (m,)
        moved, places = np.isin(itemids[left], boosted), np.arange(1, len(left) + 1)
        halved = np.where(moved, np.maximum(places // 2, 1), places)
        return left[np.lexsort((places, ~moved, halved))]


def numbers_of(rules: RuleList) -> Callable[[Release], tuple[Ids, Ids]]:
    """A function that gives the numbers of the hidden and of the boosted items that a release knows."""
    return per_release(
        lambda opened: (opened.known(rules.hidden), opened.known(rules.boosted))
    )


# make rules


def read(path: Path) -> RuleList:
    """Read a file of rules. Raises StepError, for a file that names no item, too."""
    try:
        rules = RuleList.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        raise steps.StepError(
            f"{path}: {error}",
            "Expected: TOML with hidden = [1, 2] and boosted = [50], lists of the data set's own item ids.",
        ) from error
    if not rules:
        raise steps.StepError(
            f"{path} names no item, so the rules stay as they are.",
            "To clear all rules: make rules clear=1",
        )
    return rules


def main(settings: Settings, arguments: Sequence[str] | None = None) -> None:
    """Raises StepError, NoReleaseError, ServiceError."""
    parser = argparse.ArgumentParser(
        prog="make rules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--file", type=Path, help="TOML with hidden and boosted")
    chosen.add_argument("--clear", action="store_true", help="delete all rules")
    options = parser.parse_args(arguments)
    rules = read(options.file) if options.file else RuleList()
    with closing(RedisUsers(settings.redis)) as users:
        key = rules_key(active_manifest(users).dataset.base_name)
        if options.file or options.clear:
            with closing(connect(settings.redis)) as client:
                client.set(key, rules.model_dump_json())
        rules = RuleList.model_validate_json(users.value(key) or b"{}")
    for what, own_ids in rules:
        ids = ", ".join(map(str, own_ids))
        print(f"{len(own_ids)} items are {what}: {ids}")  # noqa: T201


if __name__ == "__main__":
    steps.run(main)
