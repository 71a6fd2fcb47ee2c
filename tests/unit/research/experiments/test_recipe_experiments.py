"""Ablations, seeds and the global split on people who walk round the items."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.channels import Channel
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from offline.data.sequences import Inputs
from offline.evaluation import replay
from offline.models.stages import channels_of, fit_channels, fit_stages
from research.experiments import ablations, fitted, global_time, recipe_seeds
from research.experiments.fitted import EvalRequests, systems
from research.experiments.fusion_rules import quotas, rrf, rules, z_scores
from research.experiments.ranker_variants import AblationSetup, Parts, without
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of

LAST = 4
LAST_FOUR = HoldoutRule(last=LAST)
SIZE = RECIPE.recall.candidates


@pytest.fixture(scope="module")
def requests() -> EvalRequests:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    inputs = replace(inputs, dataset=inputs.dataset.model_copy(update={"holdout": LAST_FOUR}))
    return EvalRequests(replay.hold_out(inputs.data, LAST_FOUR), inputs)


@pytest.fixture(scope="module")
def channels(requests: EvalRequests) -> tuple[Channel, ...]:
    return channels_of(fit_channels(requests.holdout.past, requests.inputs, RECIPE))


def test_every_stage_of_fitted_systems_holds_nothing_seen(requests: EvalRequests) -> None:
    found = systems(fit_stages(requests.holdout.past, requests.inputs, RECIPE), requests, RECIPE)
    assert list(found) == ["channel tower", "channel ease", "recall", "ranked"]
    seen = requests.holdout.past.seen().toarray() > 0
    for lists in found.values():
        assert not any(seen[user, codes[codes > 0]].any() for user, codes in enumerate(lists))
    assert np.array_equal(np.sort(found["recall"]), np.sort(found["ranked"]))


NAMES = ("a", "b")
HITS = (Hits(np.array([4, 9, 2]), np.array([3.0, 2.0, 1.0])), Hits(np.array([2, 7]), np.array([5.0, 1.0])))


def test_rules_make_one_list_of_two() -> None:
    assert rrf((1, 1), 3)(HITS).tolist() == [2, 4, 7]
    # turns: 4: 0.5, 9: 1.5, 2: 2.5 or 0.5, 7: 1.5; with 2:1 they are 4: 0.25, 9: 0.75, 2: 1.25 or 0.5, 7: 1.5
    assert quotas((1, 1), 4)(HITS).tolist() == [4, 2, 9, 7]
    assert quotas((2, 1), 3)(HITS).tolist() == [4, 2, 9]
    assert quotas((9, 1), 4)(HITS).tolist() == [4, 9, 2, 7]
    # standings: 4: 1.22, -1; 9: 0, -1; 2: -1.22, 1; 7: -1.22, -1
    assert z_scores(NAMES, (1, 1), 4)(HITS).tolist() == [4, 2, 9, 7]
    assert z_scores(NAMES, (0.1, 1), 2)(HITS).tolist() == [2, 4]
    for name, rule in rules(NAMES, 2).items():
        kept = rule(HITS).tolist()
        assert len(kept) == len(set(kept)) == 2, name


def test_what_a_ranker_is_not_given_changes_nothing(requests: EvalRequests, channels: tuple[Channel, ...]) -> None:
    setup = AblationSetup.of(requests, channels, RECIPE)
    recalled = requests.recalled(channels, RECIPE, SIZE)
    other = recalled.take(np.arange(len(recalled)))
    other.features[:] = 7
    blind = setup.train(Parts(recall=False))
    assert np.array_equal(blind.ranked(recalled), blind.ranked(other))
    seeing = setup.train()
    assert not np.array_equal(seeing.ranked(recalled), seeing.ranked(other))
    other = recalled.take(np.arange(len(recalled)))
    other.events[:] = other.events[::-1].copy()
    forgetful = setup.train(Parts(history=False))
    assert np.array_equal(forgetful.ranked(recalled), forgetful.ranked(other))
    unfollowed = setup.train(Parts(transitions=False)).model
    last = len(setup.then.frozen.factors) - 1
    assert unfollowed.get_buffer(f"events{last - 1}").any()
    assert not unfollowed.get_buffer(f"events{last}").any()
    assert seeing.model.get_buffer(f"events{last}").any()
    assert len({*without().values()}) == len(without()) == 6


def test_all_inputs_are_the_recipes_ranker(requests: EvalRequests, channels: tuple[Channel, ...]) -> None:
    stages = systems(fit_stages(requests.holdout.past, requests.inputs, RECIPE), requests, RECIPE)
    variant = AblationSetup.of(requests, channels, RECIPE).train()
    recalled = requests.recalled(channels, RECIPE, SIZE)
    assert np.array_equal(requests.lists(variant.ranked(recalled), SIZE), stages["ranked"])


@pytest.fixture
def settings(requests: EvalRequests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A folder that says only which data set it is of; the inputs are those made up here."""
    artifacts.DATASET.write(tmp_path, {"name": "made up"})
    for module in (fitted, recipe_seeds, global_time):
        monkeypatch.setattr(module, "read_with_holdout", lambda _: requests.inputs)
    return Settings(exchange_dir=tmp_path)


@pytest.fixture
def recipe() -> Recipe:
    return RECIPE


def test_ablations_never_read_the_last_ten(
    settings: Settings, requests: EvalRequests, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablations, "summary", lambda _, lists: {"lists": lists.tolist()})
    found = ablations.measure(settings, recipe, with_source=True)
    data = requests.inputs.data
    late = data.positions >= np.repeat(data.lengths - LAST, data.lengths)
    turned = np.where(late, data.items % ITEMS + 1, data.items)
    other = Inputs(**(vars(requests.inputs) | {"data": type(data)(**(vars(data) | {"items": turned}))}))
    monkeypatch.setattr(fitted, "read_with_holdout", lambda _: other)
    assert ablations.measure(settings, recipe, with_source=True) == found
    assert json.loads(json.dumps(found, allow_nan=False))["users"] > 0
    groups = {row["group"] for row in found["rows"]}
    assert groups == {"baseline", "channel alone", "search", "fusion", "ranker"}
    assert len({row["name"] for row in found["rows"]}) == len(found["rows"])
    assert found["reference"] in {row["name"] for row in found["rows"]}


def test_at_one_moment_for_all_nothing_later_is_known() -> None:
    data = inputs_of(np.zeros(USERS - 1, dtype=int)).data
    times = data.times + 1000 * data.users  # each starts a little later than the one before
    data = type(data)(**(vars(data) | {"times": times}))
    time = 20_000
    holdout = global_time.holdout_at(data, time, 3)
    assert holdout.past.times.max() < time
    assert holdout.past.lengths.sum() == (times < time).sum()
    liked = np.asarray(holdout.relevance.sum(axis=1) + holdout.disliked.sum(axis=1)).ravel()
    started = holdout.past.lengths > 0
    assert (liked[~started] == 0).all()
    assert set(liked[started]) <= {1, 2, 3, 0}
    user = int(np.flatnonzero(started)[-1])
    first = data.starts[user] + holdout.past.lengths[user]
    assert holdout.times[user] == times[first] >= time
