"""The search for a baseline's setting: one value at a time is changed, for as long as that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from research.baselines.contract import Rival, Setting

SELECTED_BY = "ndcg@50"
Measured = dict[str, Any]  # metric -> mean over users, of the ten before the last ten


def best(tried: list[Measured], rival: Rival) -> Setting:
    """The setting with the highest `SELECTED_BY`, the earliest of equals; the first one where nothing was tried."""
    if not tried:
        return rival.first
    found: Setting = max(tried, key=lambda each: each[SELECTED_BY])["setting"]
    return found


def searched(rival: Rival, tried: list[Measured], measure: Callable[[Setting], Measured]) -> Iterator[Measured]:
    """Try what is not in ``tried`` yet, giving each as soon as it is measured.

    Coordinate search, deterministic: each setting in turn takes each of its values, the others being the best so far;
    again, until a whole round changes nothing. Given ``tried`` with its earlier results, it resumes where it ended.
    """
    known = {_key(each["setting"]): each for each in tried}

    def value(setting: Setting) -> Iterator[Measured]:
        if _key(setting) not in known:
            known[_key(setting)] = {"setting": dict(setting), **measure(setting)}
            yield known[_key(setting)]

    yield from value(rival.first)
    current = rival.first
    for _ in range(rival.rounds):
        before = current
        for name, values in rival.others.items():
            choices = [{**current, name: each} for each in (current[name], rival.first[name], *values)]
            for setting in choices:
                yield from value(setting)
            current = max(choices, key=lambda setting: known[_key(setting)][SELECTED_BY])
        if current == before:
            return


def _key(setting: Setting) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(setting.items()))


def over(rival: Rival, tried: list[Measured]) -> bool:
    """Whether the search has nothing left to try."""
    return next(searched(rival, tried, lambda _: {SELECTED_BY: 0.0}), None) is None
