from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.steps import StepError
from offline_to_online.rows.item_rows import ItemRow, item_rows
from research.measure.index_growth import multiplied
from tests.synthetic_release import write_artifacts


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[ItemRow]:
    folder: Path = tmp_path_factory.mktemp("release")
    write_artifacts(folder)
    return item_rows(folder)


def test_the_release_is_in_it_and_every_copy_has_a_number_of_its_own(rows: list[ItemRow]) -> None:
    found = multiplied(rows, 1000)
    assert len({row.itemid for row in found}) == 1000
    assert [row.itemid for row in found[: len(rows)]] == [row.itemid for row in rows]
    assert {row.genres for row in found} == {row.genres for row in rows}


def test_originals_keep_their_vectors_and_copies_lie_near_them(rows: list[ItemRow]) -> None:
    found = multiplied(rows, 1000)
    for field in rows[0].vectors:
        for row, as_before in zip(found, rows, strict=False):
            if field in as_before.vectors:
                np.testing.assert_array_equal(row.vectors[field][:-1], as_before.vectors[field][:-1])  # but the filler
        known = np.stack([row.vectors[field] for row in found if field in row.vectors])
        lengths = np.linalg.norm(known.astype(np.float64), axis=1)
        np.testing.assert_allclose(lengths, lengths.max(), rtol=1e-5)
        assert len(np.unique(known[:, :-1], axis=0)) > 0.9 * len(known)


def test_the_same_sizes_give_the_same_vectors(rows: list[ItemRow]) -> None:
    one, other = multiplied(rows, 500), multiplied(rows, 500)
    for a, b in zip(one, other, strict=True):
        assert a.vectors.keys() == b.vectors.keys()
        assert all(np.array_equal(a.vectors[field], b.vectors[field]) for field in a.vectors)


def test_a_smaller_catalogue_is_none(rows: list[ItemRow]) -> None:
    with pytest.raises(StepError, match=r"items=5: the release has 3\d\d items"):
        multiplied(rows, 5)
