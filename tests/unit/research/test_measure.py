"""Imported models, by the library's lists and by the stack's."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from data_exchange_center.columns import Columns
from data_exchange_center.recipes import EaseRecipe, ListRankerRecipe
from data_exchange_center.release_parts import read_channels, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import replay
from extras.models.__main__ import export_events, import_model
from extras.own_data import proposal
from offline.data.lists import by_objective
from offline.data.sequences import Sequences, sequences
from offline.models.list_ranker import objectives
from offline.models.tower import next_item_loss
from offline.models.training import list_loss
from offline.offline_ranker import OfflineRanker
from offline.preprocess import s0_get_data, s1_data_split
from offline.readers import read_inputs, read_lists
from research.evaluation import baselines
from research.evaluation.one_table import evaluate
from research.measure import event_types, next_basket
from research.measure import shop as made_up_shop
from research.measure.canary import NAMES, Collected, simulate
from research.measure.imported import quality
from research.rivals import contest
from research.rivals.contest import Fitted, Rival, best_fusion
from tests.made_up_data import shop, supermarket
from tests.unit.data_exchange_center.test_events import (
    BUY,
    CART,
    TYPED,
    TYPES,
    VIEW,
)
from tests.unit.extras.models.bundles import events, written
from tests.unit.extras.replay.conftest import settings_of
from tests.unit.offline.synthetic import run_steps

# canary

N = 300


@pytest.fixture(scope="module")
def active() -> Collected:
    generator = np.random.default_rng(0)
    problems = {name: np.zeros(N, np.bool_) for name in NAMES}
    return Collected(
        problems,
        generator.lognormal(3, 0.6, N),
        np.full(N, 10),
        generator.poisson(3, N),
    )


def same(active: Collected) -> Collected:
    return active


def failing(reason: str) -> Callable[[Collected], Collected]:
    return lambda active: active.where(0.06, reason, lost=True)


@pytest.mark.parametrize(
    ("change", "likes", "reason", "step"),
    [
        (same, 1.0, "", 3),
        *(
            (failing(reason), 1.0, reason, 1)
            for reason in ("errors", "degraded", "short", "wrong", "scores")
        ),
        (lambda active: active.slower(1.0, 80.0), 1.0, "latency", 1),
        (same, 0.8, "likes", 1),
    ],
)
def test_a_problem_ends_the_canary_and_is_named(
    active: Collected,
    change: Callable[[Collected], Collected],
    likes: float,
    reason: str,
    step: int,
) -> None:
    generator = np.random.default_rng(1)
    ended = simulate(active, change(active), generator, likes=likes)
    assert (ended["reason"], ended["step"]) == (reason, step)


# Imported models, by the library's lists and by the stack's.


def test_served_lists_have_the_recall_of_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path / "exchange"))
    settings = Settings(data=shop(tmp_path / "data", users=60, items=70, views=900))
    for step in (s0_get_data, s1_data_split):
        step.main(settings)
    export_events(settings, tmp_path / "events")
    folder = written(tmp_path / "bundle", "vectors", events(settings))
    recipe = import_model(settings, folder)
    found = quality(
        run_steps(settings.model_copy(update={"recipe_name": str(recipe)})), folder
    )
    assert 0 < found["library"] <= 1
    # a request does not know its own second's events
    assert found["stack"] == pytest.approx(found["library"], abs=0.03)


# next_basket


def test_the_next_basket_and_the_baselines(tmp_path: Path) -> None:
    settings = run_steps(
        Settings(
            data=supermarket(tmp_path / "data"), exchange_dir=tmp_path / "exchange"
        )
    )
    next_basket.main(settings)
    found = json.loads(
        (settings.offline_dir / "evaluation" / "baskets_market.json").read_text(
            encoding="utf-8"
        )
    )
    assert found["users"] == 60
    table = found["table"]
    assert table["popularity"]["recall@10"] < min(
        table[name]["recall@10"] for name in ("TIFU-KNN", "ranked")
    )
    assert (
        table["personal top"]["recall@10, had before"]
        > table["ranked"]["recall@10"] / 2
    )


# Rivals: what is tried, chosen, fused and kept.


def test_a_list_joins_while_that_helps() -> None:
    lists = {
        "good": np.array([[1, 2, 3]]),
        "better": np.array([[2, 1, 3]]),
        "bad": np.array([[3, 3, 3]]),
    }

    def value(made: np.ndarray) -> float:
        return float(made[0, 0] == 2) + 0.1 * (made[0, 1] == 1)

    assert best_fusion(lists, value, 3) == {"better": 1.0}


def test_rivals_are_chosen_on_validation_and_resumed(
    exchange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: Settings = settings_of("default", exchange)
    fits: list[str] = []

    def counted(folder: Path, *given: object) -> Fitted:
        fits.append(folder.name)
        return contest.popularity(folder, *given)  # type: ignore[arg-type]

    rivals = {
        "popularity": Rival({"days": (1, 20_000)}, counted),
        "EASE": Rival(
            {"l2": (1.0,), "dim": (4,)}, partial(contest.channel, EaseRecipe)
        ),
        "Markov chain": Rival({"lags": (3,)}, contest.RIVALS["Markov chain"].fit),
    }
    monkeypatch.setattr(contest, "RIVALS", rivals)

    def report() -> dict[str, Any]:
        (path,) = (settings.offline_dir / "evaluation").glob("rivals*.json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    contest.main(settings, only=["EASE"])
    assert report()["measured"]["finished"] is False
    contest.main(settings, only=["popularity"])
    assert [*report()["rows"]] == ["EASE", "popularity", contest.FUSION]
    assert len(fits) == len(set(fits)) == 3  # two settings on validation, one on test
    contest.main(settings)
    assert len(fits) == 3
    found = report()
    assert "finished" not in found["measured"]
    assert set(found["rows"]) == {*rivals, contest.FUSION}
    best = max(found["tried"]["popularity"], key=lambda each: each["ndcg@50"])
    assert found["rows"]["popularity"]["setting"] == best["setting"]


# Models of events of several types: weights, targets, an output for each objective.


def test_an_item_counts_by_its_users_largest_weight() -> None:
    rows = [(1, 10, VIEW), (1, 10, CART), (1, 11, VIEW), (2, 11, BUY)]
    frame = pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM, Columns.RATING])
    frame[Columns.TIMESTAMP] = range(len(frame))
    data = sequences(frame, [10, 11], positive_level=3, types=TYPES)
    wanted = data.wanted().toarray()
    assert wanted == pytest.approx(np.array([[0, 0.3, 0.1], [0, 0, 1]]))
    assert data.liked_together()[1, 2] == pytest.approx(0.03)
    followed = data.followers(window=2).toarray()
    assert followed[1, 1] == pytest.approx(0.3), "a cart after the view"


def test_a_targets_weight_multiplies_its_loss() -> None:
    torch.manual_seed(0)
    users, items, bias = torch.randn(2, 3), torch.randn(5, 3), torch.randn(5)
    seen = (torch.tensor([0]), torch.tensor([4]))
    targets = (torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3]))

    def loss(places: list[int], shares: list[float]) -> torch.Tensor:
        rows = targets[0][places]
        weights = torch.tensor(shares)
        totals = torch.bincount(rows, weights, minlength=2).float()
        chosen = rows, targets[1][places]
        return next_item_loss(users, items, bias, seen, chosen, weights, totals)

    parts = 0.3 * loss([0], [1.0]) + loss([1], [1.0]) + 0.1 * loss([2], [1.0])
    assert loss([0, 1, 2], [0.3, 1.0, 0.1]) == pytest.approx(float(parts), rel=1e-5)


def test_the_loss_of_several_outputs_is_their_weighted_mean() -> None:
    given = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(1))
    liked = torch.tensor([[1, 0, 2, 0], [3, 0, 0, 0]], dtype=torch.int16)
    added = torch.zeros(2, 4)

    class Same(torch.nn.Module):
        def forward(self, output: torch.Tensor) -> torch.Tensor:
            return output

    found = list_loss(Same(), (given,), added, liked, [1.0, 0.5])
    first = list_loss(Same(), (given[..., :1],), added, (liked & 1) > 0)
    second = list_loss(Same(), (given[..., 1:],), added, (liked & 2) > 0)
    assert float(found) == pytest.approx(float(first + 0.5 * second) / 1.5)


def test_the_recipe_may_weigh_the_objectives_otherwise() -> None:
    assert objectives(ListRankerRecipe(), TYPED) == (("buy", 1.0), ("cart", 0.3))
    own = ListRankerRecipe(objectives={"cart": 2.0})
    assert objectives(own, TYPED) == (("buy", 0.0), ("cart", 2.0))
    with pytest.raises(StepError, match=r"names view\..*: buy, cart\."):
        objectives(ListRankerRecipe(objectives={"view": 1.0}), TYPED)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a shop whose files `make new-data` has described, as docs/guides/shop.md does it."""
    folder = tmp_path_factory.mktemp("typed")
    data = folder / "my-shop"
    with pytest.MonkeyPatch.context() as patch:
        size = ["--users", "150", "--items", "60", "--visits", "8"]
        patch.setattr(sys, "argv", ["shop", str(data), *size])
        made_up_shop.main()
    proposal.main(Settings(), data)
    return run_steps(Settings(data=data, exchange_dir=folder / "exchange"))


def test_purchases_are_ranked_first(pipeline: Settings) -> None:
    purchases = event_types.Typed(pipeline)
    bought = purchases.targets(event_types.BUY)
    holdout = purchases.holdout

    def ndcg(lists: replay.Lists) -> float:
        return float(np.nanmean(replay.ndcg(lists, bought, 20)))

    ranked = replay.answers(pipeline, holdout).ranked
    views = replay.answers(pipeline, holdout, objectives=(1.0, 0.0, 0.0)).ranked
    assert ndcg(ranked) > 1.2 * ndcg(baselines.popularity(holdout, replay.SHOWN))
    assert ndcg(ranked) > ndcg(views), "the request's weights move the order"
    assert purchases.targets(event_types.VIEW).nnz > bought.nnz
    by_type = evaluate(pipeline, "make evaluate-offline")["types"]
    assert [*by_type] == ["view", "cart", "buy"]
    of_ranked, of_popularity = (
        by_type["buy"][name]["ndcg@50"] for name in ("default: ranked", "popularity")
    )
    assert of_ranked > of_popularity


def past_of(settings: Settings) -> Sequences:
    return read_inputs(settings).data


def test_a_release_has_an_output_for_each_target_type(pipeline: Settings) -> None:
    folder = pipeline.artifacts_dir
    manifest = release_of_artifacts(pipeline)
    assert manifest.objectives == {"view": 0.1, "cart": 0.3, "buy": 1.0}
    ranker = OfflineRanker.read(folder)
    lists = read_lists(pipeline, past_of(pipeline))
    assert len(lists)
    sizes = manifest.feature_spec.sizes
    from offline_to_online.onnx_export import check_onnx, export_onnx
    from offline_to_online.stores.triton import ModelFile

    onnx = export_onnx(ranker.model, sizes, manifest.release)
    check_onnx(onnx, ranker.model, sizes)
    found = ModelFile.of(onnx).sizes
    assert (found.outputs, str(found)) == (3, f"{sizes.columns}_{sizes.events}_3")


def test_a_label_has_a_bit_for_each_type_that_came_next(pipeline: Settings) -> None:
    past = past_of(pipeline)
    lists = read_lists(pipeline, past)
    labelled = by_objective(lists, past, ListRankerRecipe().horizon)
    assert np.array_equal(labelled.liked > 0, lists.liked)
    bits = [int(((labelled.liked >> bit) & 1).sum()) for bit in range(3)]
    assert bits[0] > bits[2] > 0, "more views than purchases"


def test_weights_of_ease_are_those_of_the_types(pipeline: Settings) -> None:
    (ease,) = [
        each
        for each in read_channels(pipeline.artifacts_dir).channels
        if each.name == "ease"
    ]
    weights = ease.rating_weight[0, 0]  # type: ignore[attr-defined]
    assert weights == pytest.approx([0, 0.1, 0.3, 1])
