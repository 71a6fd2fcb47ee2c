"""Find the events of a user that change nothing any more, so that no request need read them.

All kept releases have been trained on them; they stay in the log.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

import numpy as np

from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.history import History
from extras.events.events import Logged, updated
from online.clients.base import ServiceError
from online.clients.redis import StoredUser, UserQuery
from online.recommend.recommend import Recommender
from online.recommend.release import Release
from online.recommend.types import NoReleaseError, UnknownReleaseError


def unneeded_events(recommender: Recommender, userid: OwnId, dataset: str) -> Collection[str]:
    """The eventids of a user's events that no request need read, of the releases that are kept.

    ``dataset``: `Dataset.base_name`. Raises ServiceError.
    """
    users = recommender.users
    states: list[tuple[StoredUser, Release]] = []
    for release in users.activated()[1]:
        try:
            opened = recommender.releases.open_kept(release)
        except UnknownReleaseError:  # deleted since
            continue
        except NoReleaseError as error:
            raise ServiceError(users.service, f"holds release {release}, which cannot be opened") from error
        if opened.manifest.dataset.base_name == dataset:
            user = users.call(UserQuery.of(userid, opened.manifest)).user
            if user is not None:
                states.append((user, opened))
    return unneeded(states)


def unneeded(states: Sequence[tuple[StoredUser, Release]]) -> set[str]:
    """``states``: a user's, with all events, in each of the kept releases of a data set."""
    known = [trained_on(user, user.events, opened.numbers, opened.manifest.dataset) for user, opened in states]
    return set.intersection(*known) if known else set()


def trained_on(user: StoredUser, events: Iterable[Logged], items: Mapping[OwnId, int], dataset: Dataset) -> set[str]:
    """The eventids of those that change nothing of what a release has of the user: it knows them already.

    ``items``: own id -> number. What a release does not know, a later one may.
    """
    known = {
        items[itemid]: of_item
        for itemid, of_item in _by_item(events).items()
        if itemid in items and all(_is_known(each, dataset) for each in of_item)
    }
    now, now_seen = updated(user.history, user.seen, chain.from_iterable(known.values()), items, dataset)
    before, after = Counter(_rows(user.history)), Counter(_rows(now))
    changed = {item for item, _, _ in (before - after) + (after - before)}
    changed |= set(np.setxor1d(user.seen, now_seen).tolist())
    return {each.event.eventid for item, of_item in known.items() if item not in changed for each in of_item}


def _by_item(events: Iterable[Logged]) -> Mapping[OwnId, list[Logged]]:
    by_item: dict[OwnId, list[Logged]] = defaultdict(list)
    for each in events:
        by_item[each.event.itemid].append(each)
    return by_item


def _is_known(logged: Logged, dataset: Dataset) -> bool:
    effect = dataset.event_types.get(logged.event.type)
    return effect is not None and (effect != "rates" or dataset.code(logged.event.value) is not None)


def _rows(history: History) -> Iterable[tuple[int, int, int]]:
    return zip(history.itemids.tolist(), history.ratings.tolist(), history.times.tolist(), strict=True)
