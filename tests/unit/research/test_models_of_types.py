"""Models of events of several types: weights, targets, an output for each objective."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data_exchange_center.columns import Columns
from data_exchange_center.recipes import ListRankerRecipe
from data_exchange_center.release_parts import read_channels, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.lists import by_objective
from offline.data.sequences import Sequences, sequences
from offline.models.list_ranker import objectives
from offline.models.tower import next_item_loss
from offline.models.training import list_loss
from offline.offline_ranker import OfflineRanker
from offline.readers import read_inputs, read_lists
from research.measure.shop import make_shop
from tests.unit.data_exchange_center.test_event_types import (
    BUY,
    CART,
    TYPED,
    TYPES,
    VIEW,
)
from tests.unit.offline.synthetic import run_steps


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


def test_a_targets_share_multiplies_its_loss() -> None:
    torch.manual_seed(0)
    users, items, bias = torch.randn(2, 3), torch.randn(5, 3), torch.randn(5)
    seen = (torch.tensor([0]), torch.tensor([4]))
    targets = (torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3]))
    weights = torch.tensor([0.5, 2.0])

    def loss(rows: list[int], shares: list[float] | None) -> torch.Tensor:
        chosen = targets[0][rows], targets[1][rows]
        factors = None if shares is None else torch.tensor(shares)
        return next_item_loss(users, items, bias, seen, chosen, weights, factors)

    parts = 0.3 * loss([0], None) + loss([1], None) + 0.1 * loss([2], None)
    assert loss([0, 1, 2], [0.3, 1.0, 0.1]) == pytest.approx(float(parts), rel=1e-5)
    assert loss([0, 1, 2], [1.0, 1, 1]) == pytest.approx(float(loss([0, 1, 2], None)))


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
    folder: Path = tmp_path_factory.mktemp("typed")
    data = make_shop(0, users=90, items=50).write(folder / "data")
    return run_steps(Settings(data=data, exchange_dir=folder / "exchange"))


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
