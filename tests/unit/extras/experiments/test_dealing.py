from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from extras.experiments.dealing import BUCKETS, arm_of, bucket, dealt, is_in, resized
from extras.experiments.declaration import Arm, Experiment, Ranges

CONTROL, TREATMENT = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
USERS = range(1, 20_001)
STRANGE = 1e-6  # a p-value that no sound deal has: the users are always the same ones


def experiment(name: str = "ranker", layer: str = "main", **given: object) -> Experiment:
    fields = {
        "dataset": "films",
        "buckets": ((0, BUCKETS),),
        "started": 0,
        "arms": {"a": Arm(release=CONTROL), "b": Arm(release=TREATMENT)},
    }
    return Experiment.model_validate({"name": name, "layer": layer, **fields, **given})


@pytest.mark.parametrize("salt", ["main", "home", "ranker"])
@pytest.mark.parametrize("purpose", [b"layer", b"arm"])
def test_users_are_dealt_evenly(salt: str, purpose: bytes) -> None:
    counts = [0] * 100
    for userid in USERS:
        counts[bucket(salt, userid, purpose) * 100 // BUCKETS] += 1
    assert stats.chisquare(counts).pvalue > STRANGE


@pytest.mark.parametrize(
    ("first", "second"),
    [(("main", b"layer"), ("home", b"layer")), (("main", b"layer"), ("main", b"arm")), (("a", b"arm"), ("b", b"arm"))],
)
def test_layers_and_experiments_are_independent(first: tuple[str, bytes], second: tuple[str, bytes]) -> None:
    together = [[0] * 10 for _ in range(10)]
    for userid in USERS:
        one, other = (bucket(salt, userid, purpose) * 10 // BUCKETS for salt, purpose in (first, second))
        together[one][other] += 1
    assert stats.chi2_contingency(together).pvalue > STRANGE


def test_a_users_arm_is_the_same_wherever_it_is_asked_for() -> None:
    """Written down, as it must not change from one version to the next while an experiment runs."""
    known = {1: "a", 3: "b", 7: "a", "u-8f3a": "b", "陌生人": "a"}
    assert {userid: arm_of(experiment(), userid) for userid in known} == known


def test_arms_get_users_by_their_weights() -> None:
    arms = {"a": Arm(release=CONTROL, weight=3), "b": Arm(release=TREATMENT), "c": Arm(release=CONTROL, weight=4)}
    counts = dict.fromkeys(arms, 0)
    for userid in USERS:
        counts[arm_of(experiment(arms=arms), userid)] += 1
    expected = [len(USERS) * arm.weight / 8 for arm in arms.values()]
    assert stats.chisquare(list(counts.values()), expected).pvalue > STRANGE


def test_experiments_of_a_layer_have_no_user_in_common() -> None:
    first, second = experiment("first", buckets=((0, 3_000),)), experiment("second", buckets=((3_000, 10_000),))
    assert all(is_in(first, userid) != is_in(second, userid) for userid in USERS)


def test_of_two_layers_the_experiment_that_was_started_first_decides() -> None:
    old, new = experiment("old", buckets=((0, 5_000),), started=1), experiment("new", "home", started=2)
    for userid in USERS[:1_000]:
        assert dealt([new, old], userid) == (old if is_in(old, userid) else new)
    assert dealt([], 1) is None


def size(ranges: Ranges) -> int:
    assert all(0 <= first < after <= BUCKETS for first, after in ranges)
    assert all(after < first for (_, after), (first, _) in pairwise(ranges))  # neither overlapping nor touching
    return sum(after - first for first, after in ranges)


@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=8), st.integers(1, BUCKETS))
def test_as_few_users_as_possible_move(sizes: list[int], wanted: int) -> None:
    """Experiments come, the second one goes, and the first is resized."""
    held: list[Ranges] = []
    for each in sizes:
        if (ranges := resized((), held, each)) is None:
            assert size_of(held) + each > BUCKETS
        else:
            assert size(ranges) == each
            held.append(ranges)
    mine, others = held[0], held[2:]
    changed = resized(mine, others, wanted)
    if changed is None:
        assert size_of(others) + wanted > BUCKETS
        return
    assert size(changed) == wanted
    before, after, taken = places(mine), places(changed), {place for each in others for place in places(each)}
    assert not after & taken
    assert before <= after or after <= before


def size_of(held: list[Ranges]) -> int:
    return sum(size(each) for each in held)


def places(ranges: Ranges) -> set[int]:
    return {place for first, after in ranges for place in range(first, after)}
