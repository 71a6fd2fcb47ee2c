"""Two lists become one, so that what users do with it says which of the two is better."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from random import Random
from typing import Final, NamedTuple, TypeVar

Item = TypeVar("Item", bound=Hashable)

FIRST: Final = "0"
SECOND: Final = "1"
NEITHER: Final = "-"  # it was added when one list had no more to give


class Drafted(NamedTuple):
    """An interleaved list.

    Attributes:
        places: (list, place) of each item in it: 0 is the first list.
        teams: one character an item: for which list it counts.
    """

    places: tuple[tuple[int, int], ...]
    teams: str


def team_draft(first: Sequence[Item], second: Sequence[Item], size: int, coin: Random) -> Drafted:
    """Team draft (Radlinski, Kurup & Joachims 2008, How Does Clickthrough Data Reflect Retrieval Quality?).

    The lists pick in turns, each its best item that is not there yet; in each round a coin says which picks first. So
    an item that both have is as likely to count for one as for the other, at the same places in expectation.
    """
    lists, at, counts = (first, second), [0, 0], [0, 0]
    taken: set[Item] = set()
    places: list[tuple[int, int]] = []
    teams: list[str] = []

    def left(team: int) -> bool:
        while at[team] < len(lists[team]) and lists[team][at[team]] in taken:
            at[team] += 1
        return at[team] < len(lists[team])

    def pick(team: int, counted: bool) -> None:
        taken.add(lists[team][at[team]])
        places.append((team, at[team]))
        teams.append((FIRST, SECOND)[team] if counted else NEITHER)
        counts[team] += 1

    while len(places) < size and left(0) and left(1):
        pick(coin.randrange(2) if counts[0] == counts[1] else int(counts[0] > counts[1]), counted=True)
    for team in (0, 1):
        while len(places) < size and left(team):
            pick(team, counted=False)
    return Drafted(tuple(places), "".join(teams))
