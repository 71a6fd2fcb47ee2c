from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extras.experiments.team_draft import FIRST, NEITHER, SECOND, team_draft

LISTS = st.lists(st.integers(0, 30), unique=True, max_size=20)


@given(LISTS, LISTS, st.integers(1, 25), st.integers())
def test_every_item_once_and_both_teams_in_turns(first: list[int], second: list[int], size: int, seed: int) -> None:
    drafted = team_draft(first, second, size, Random(seed))
    lists = (first, second)
    items = [lists[team][place] for team, place in drafted.places]
    assert len(set(items)) == len(items) == len(drafted.teams) == min(size, len({*first, *second}))
    counted = drafted.teams.rstrip(NEITHER)
    assert NEITHER not in counted
    for end in range(0, len(counted) + 1, 2):
        assert counted[:end].count(FIRST) == counted[:end].count(SECOND)
    for (team, _), named in zip(drafted.places, drafted.teams, strict=True):
        assert named in (f"{team}", NEITHER)
    for team, own in enumerate(lists):  # whoever picks takes its best that is left
        picked = [place for by, place in drafted.places if by == team]
        assert picked == sorted(picked)
        for number, (by, place) in enumerate(drafted.places):
            if by == team:
                assert set(own[:place]) <= set(items[:number])


@pytest.mark.parametrize("items", [[1, 2, 3, 4], [1]])
def test_equal_lists_stay_as_they_are_and_each_item_counts_for_either_team_alike(items: list[int]) -> None:
    teams: Counter[tuple[int, str]] = Counter()
    rounds = 4_000
    for seed in range(rounds):
        drafted = team_draft(items, items, 50, Random(seed))
        assert [items[place] for _, place in drafted.places] == items
        teams.update(enumerate(drafted.teams))
    for place in range(len(items)):
        assert abs(teams[place, FIRST] - rounds / 2) < 5 * (rounds / 4) ** 0.5


def test_who_has_nothing_leaves_the_list_to_the_other_without_credit() -> None:
    drafted = team_draft([], [1, 2], 2, Random(0))
    assert drafted.teams == NEITHER * 2
    assert drafted.places == ((1, 0), (1, 1))
