"""Counts of a canary in one worker, until they are added to Redis's."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

from extras.trials.decision import NOTHING, TOP, bucket_of
from online.clients.triton import NOT_NUMBERS
from online.recommend.loaded_release import Release
from online.recommend.types import Answer, Request

# Canary requests of a worker that are not timed: its connections and caches are cold
FIRST: Final = 20


class Tally:
    """What a worker knows of a canary. Shared by threads.

    Attributes:
        began: when the worker heard of it, in monotonic seconds.
        likes: of the canary's users relative to the others', as measured last.
        likes_at: when that is due again, in monotonic seconds.
        samples: the newest requests whose lists can be compared.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.likes = NOTHING
        self.likes_at = 0.0
        self.samples: deque[Request] = deque(maxlen=100)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._timed = 0  # answers of the canary

    def count(
        self, group: str, names: Iterable[str], took_ms: float | None = None
    ) -> None:
        """Count a request.

        Args:
            names: the guardrails that it counts against.
            took_ms: its time; None where it has no answer. The canary's first `FIRST` times do not count.
        """
        with self._lock:
            self._counts.update(f"{group}:{name}" for name in ("requests", *names))
            if took_ms is not None:
                self._timed += group == "canary"
                if group == "active" or self._timed > FIRST:
                    self._counts[f"{group}:<{bucket_of(took_ms)}"] += 1

    def compared(self, overlap: int) -> None:
        """Count a compared list."""
        with self._lock:
            self._counts.update(compared=1, overlap=overlap)

    def taken(self) -> Counter[str]:
        """The counts since the last call."""
        with self._lock:
            found, self._counts = self._counts, Counter()
            return found


def is_wrong(answer: Answer, opened: Release) -> bool:
    """Whether an item of an answer has another title in a release. New items may be there."""
    for item in answer.item_list:
        number = opened.numbers.get(item.itemid)
        if number is not None and opened.catalogue[number].title != item.title:
            return True
    return False


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
