"""Counts of a canary in one worker, until they are added to Redis's."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

from data_exchange_center.dataset import OwnId
from extras.trials.decision import Likes, bucket_of
from online.clients.triton import NOT_NUMBERS
from online.recommend.loaded_release import Release
from online.recommend.types import Answer, Request

# Canary requests of a worker that are not timed: its connections and caches are cold
FIRST: Final = 20
TOP: Final = 10  # items that are compared


class Tally:
    """What a worker knows of a canary. Shared by threads.

    Attributes:
        began: when the worker heard of it, in monotonic seconds.
        likes: of both groups' users, as measured last; ``likes_at``: when that is due again, in monotonic seconds.
        samples: the newest requests whose lists can be compared.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.likes = Likes()
        self.likes_at = 0.0
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._users: dict[str, set[OwnId]] = {}
        self._timed = 0
        self.samples: deque[Request] = deque(maxlen=100)

    def failed(self, group: str) -> None:
        """Count a request without an answer."""
        with self._lock:
            self._counts.update((f"{group}:requests", f"{group}:errors"))

    def answered(
        self, group: str, problems: Iterable[str], took_ms: float, userid: OwnId
    ) -> None:
        """Count an answer; ``problems``: the guardrails that it counts against."""
        with self._lock:
            self._counts.update(f"{group}:{name}" for name in ("requests", *problems))
            self._users.setdefault(group, set()).add(userid)
            self._timed += group == "canary"
            if group == "active" or self._timed > FIRST:
                self._counts[f"{group}:<{bucket_of(took_ms)}"] += 1

    def compared(self, overlap: int) -> None:
        """Count a compared list."""
        with self._lock:
            self._counts.update({"compared": 1, "overlap": overlap})

    def taken(self) -> tuple[Counter[str], dict[str, set[OwnId]]]:
        """The counts and each group's users since the last call."""
        with self._lock:
            found = self._counts, self._users
            self._counts, self._users = Counter(), {}
            return found


class Titles:
    """The items of the active release, by id and title."""

    def __init__(self, opened: Release) -> None:
        self._of = {item.own_id: item.title for item in opened.catalogue.values()}
        self._known = frozenset(self._of.values())

    def agree(self, answer: Answer) -> bool:
        """Whether no item of an answer has another title here, nor its title another id. New items may be there."""
        for item in answer.item_list:
            if item.itemid in self._of:
                if self._of[item.itemid] != item.title:
                    return False
            elif item.title in self._known:
                return False
        return True


def problems(answer: Answer, size: int, *, served: bool) -> list[str]:
    """The guardrails that an answer counts against; ``served``: the release that was meant has answered."""
    scores = [item.score for item in answer.item_list]
    is_ranked = not answer.cold_start and not answer.degraded
    reasons = {each.reason for each in answer.degraded}
    found = {
        "errors": not served,
        "degraded": bool(answer.degraded),
        "short": len(scores) < size,
        "scores": NOT_NUMBERS in reasons
        or any(score != score for score in scores)  # NaN
        or (is_ranked and len(scores) > 1 and len(set(scores)) == 1),
    }
    return [name for name, is_so in found.items() if is_so]


def overlap_of(one: Answer, other: Answer) -> int:
    """How many of the first ten items two answers share, scaled to ten where both are shorter."""
    first, second = set(one.itemids[:TOP]), set(other.itemids[:TOP])
    longest = max(len(first), len(second))
    return round(TOP * len(first & second) / longest) if longest else TOP
