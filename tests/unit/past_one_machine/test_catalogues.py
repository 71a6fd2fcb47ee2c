"""Models of large catalogues: a softmax over samples, on average and where all is drawn; EASE in its low-rank form."""

# ruff: noqa: F811 (a fixture, which is imported)

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from data_exchange_center import artifacts
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.sequences import Sequences
from offline.models.ease import ease, low_rank
from offline.models.tower import next_item_loss, train_tower
from offline.preprocess import s0_get_data, s1_data_split
from past_one_machine.catalogues import (
    chances,
    drawn,
    low_rank_ease,
    sampled_item_loss,
    within,
)
from past_one_machine.synthesis import Factors, Source, expand
from tests.unit.offline.models import test_tower as towers
from tests.unit.offline.models.test_ease import ITEMS as EASE_ITEMS
from tests.unit.offline.models.test_ease import L2, USERS, channel_of, past  # noqa: F401 (a fixture)
from tests.unit.offline.models.test_tower import (
    LOSS_ITEMS,
    LOSS_ROWS,
    SEEN,
    TARGETS,
    TOTALS,
    WEIGHTS,
    by_autograd,
    loss_inputs,
)
from tests.unit.offline.synthetic import made_up_movielens

# The tower: softmax over a sample

# by item code
LIKED = np.array([0, 0, 3, 100, 1, 0, 7, 2, 2, 50, 0, 1], dtype=np.float32)


def sampled(
    users: Tensor,
    items: Tensor,
    bias: Tensor,
    sample: np.ndarray,
    chance: np.ndarray,
    targets: tuple[Tensor, Tensor] = TARGETS,
    weights: Tensor = WEIGHTS,
    totals: Tensor = TOTALS,
) -> Tensor:
    """As the tower asks for it."""
    both = np.concatenate([np.stack(SEEN), np.stack(targets)], axis=1)
    rows, positions = map(torch.from_numpy, within(sample, both))
    codes, correction = (
        torch.from_numpy(sample),
        torch.from_numpy(np.log(chance[sample])).float(),
    )
    liked, of = targets[1], targets[0]
    of_target = (users[of] * items[liked]).sum(dim=1) + bias[liked]
    return sampled_item_loss(
        users,
        items[codes],
        bias[codes] - correction,
        (rows, positions),
        (of, of_target),
        weights,
        totals,
    )


@pytest.mark.parametrize("drawn_at_most", [LOSS_ITEMS - 1, LOSS_ITEMS + 5])
def test_where_everything_is_drawn_it_is_the_full_softmax(drawn_at_most: int) -> None:
    each, chance = loss_inputs(), chances(LIKED, drawn_at_most)
    sample = drawn(chance, np.random.default_rng(0))
    assert sample.tolist() == list(range(LOSS_ITEMS))
    one, two = by_autograd(*each), sampled(*each, sample, chance)
    assert two.item() == pytest.approx(one.item(), rel=1e-6)
    for expected, found in zip(
        torch.autograd.grad(one * 3, each),
        torch.autograd.grad(two * 3, each),
        strict=True,
    ):
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_expected_denominator_is_the_sum_over_items() -> None:
    """A denominator is what the loss of a request with one target, weighing 1, says it is: exp(loss + its logit)."""
    users, items, bias = (each.detach() for each in loss_inputs())
    row, target = 4, 11
    targets = torch.tensor([row]), torch.tensor([target])
    logit = users[row] @ items[target] + bias[target]
    weights, totals = torch.ones(1), torch.zeros(LOSS_ROWS)
    totals[row] = 1
    asked = targets, weights, totals

    def denominator(loss: Tensor) -> float:
        return float(torch.exp(loss + logit))

    expected = denominator(next_item_loss(users, items, bias, SEEN, *asked))
    chance, rng = chances(LIKED, 5), np.random.default_rng(0)
    found = [
        denominator(sampled(users, items, bias, drawn(chance, rng), chance, *asked))
        for _ in range(1500)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(expected, abs=4 * error)
    assert 4 * error < 0.1 * expected  # so that a wrong correction would be seen


def test_a_tower_learns_from_samples() -> None:
    offsets = np.random.default_rng(0).integers(0, towers.ITEMS, towers.RATERS)
    data = towers.inputs_of(offsets)
    many = {"sampled_beyond": towers.ITEMS - 1, "sampled_items": 10}
    recipe = towers.RECIPE.model_copy(update=many)
    one, two = (
        train_tower(recipe, data.data.before_last(3), data, towers.LAGS)[0]
        for _ in range(2)
    )
    assert torch.equal(one.item_vectors(), two.item_vectors())
    assert towers.share_found(data, one) > 0.8


# EASE in low rank


def weights(factors: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    rows, columns = factors
    return rows @ columns.T


def test_with_all_eigenvectors_it_is_exact(past: Sequences) -> None:
    seen, dim = past.seen(), 8
    expected = weights(low_rank(ease(seen.T @ seen, L2), dim))
    assert weights(low_rank_ease(seen, EASE_ITEMS, L2, dim)) == pytest.approx(
        expected, abs=1e-5
    )


def test_no_matrix_of_items_x_items_is_made(past: Sequences) -> None:
    """A square of this catalogue would be of 300 gigabytes."""
    more = 200_000
    seen = sp.hstack([past.seen(), sp.csr_matrix((USERS, more))], format="csr")
    rows, columns = low_rank_ease(seen, 10, L2, 4)
    assert rows.shape == columns.shape == (EASE_ITEMS + 1 + more, 4)
    assert weights(
        (rows[: EASE_ITEMS + 1], columns[: EASE_ITEMS + 1])
    ) == pytest.approx(weights(low_rank_ease(past.seen(), 10, L2, 4)), abs=1e-5)
    assert not rows[EASE_ITEMS + 1 :].any()


# Synthesis.


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_movielens(tmp_path_factory.mktemp("films"))


def expanded(
    path: Path, folder: Path, factor: int, items: int | None = None, seed: int = 1
) -> Path:
    expand(Source.of(path), Factors.of(factor, items), folder, f"films-x{factor}", seed)
    return folder


read = Source.of


def test_a_copied_user_does_what_the_user_did(films: Path, tmp_path: Path) -> None:
    """In the same order, at the same times; with copies of the same films."""
    before, after = read(films), read(expanded(films, tmp_path / "x", 3, items=2))
    n_users, n_items = len(before.users), len(before.items)
    order, films_in_order = before.users["userid"], before.items["itemid"]
    rows = after.ratings.assign(
        userid=np.array(order)[(after.ratings["userid"] - 1) % n_users],
        itemid=np.array(films_in_order)[(after.ratings["itemid"] - 1) % n_items],
    )
    copy = (after.ratings["userid"] - 1) // n_users
    for number in range(3):
        one = (
            rows[copy == number]
            .sort_values("userid", kind="stable")
            .reset_index(drop=True)
        )
        pd.testing.assert_frame_equal(one, before.ratings, check_dtype=False)
    assert set((after.ratings["itemid"] - 1) // n_items) == {0, 1}


def test_the_seed_determines_the_bytes(films: Path, tmp_path: Path) -> None:
    folders = [
        expanded(films, tmp_path / str(n), 4, seed=seed)
        for n, seed in enumerate((7, 7, 8))
    ]
    contents = [
        {file.name: file.read_bytes() for file in folder.rglob("*.parquet")}
        for folder in folders
    ]
    assert contents[0] == contents[1]
    assert contents[0].keys() == contents[2].keys()
    assert contents[0]["interactions.parquet"] != contents[2]["interactions.parquet"]


def test_the_steps_read_an_expansion(films: Path, tmp_path: Path) -> None:
    settings = Settings(
        data=expanded(films, tmp_path / "x4", 4), exchange_dir=tmp_path / "exchange"
    )
    s0_get_data.main(settings)
    s1_data_split.main(settings)
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    assert len(ratings) == 4 * len(read(films).ratings)
    assert read_dataset(settings.artifacts_dir).name == "films-x4"


def test_memory_does_not_grow_with_the_expansion(films: Path, tmp_path: Path) -> None:
    source = read(films)
    larger = replace(
        source,
        ratings=pd.concat([source.ratings] * 50).sort_values(["userid", "timestamp"]),
    )
    peaks = []
    for factor in (12, 48):  # more events than are written at once
        tracemalloc.start()
        expand(larger, Factors.of(factor, 2), tmp_path / str(factor), "made")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("factors", "sentence"),
    [
        ((1, None), "factor=1: .*at least 2"),
        ((2, 0), "items=0: .*at least 1"),
        ((2, 81), "items=81: the data set has 80 items"),
        ((40_000_000, 2), "factor=40000000: at most 35,791,394"),
    ],
)
def test_a_wrong_factor_is_said(
    films: Path, tmp_path: Path, factors: tuple[int, int | None], sentence: str
) -> None:
    with pytest.raises(StepError, match=sentence):
        expanded(films, tmp_path / "x", *factors)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(films: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    with pytest.raises(StepError, match="is there already"):
        expanded(films, tmp_path / "x", 2)
    assert (tmp_path / "x" / "mine").read_text() == "mine"
