"""What is said of whole users: of a few after the other the same as of all at once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from offline.data.whole_users import added_up, for_everybody

from data_exchange_center import artifacts
from data_exchange_center.recipes import DEFAULT
from offline.data import term_recall, terms, user_state
from offline.engines.in_memory import PandasEngine
from offline.ingestion import sources
from tests.unit.offline.synthetic import made_up_movielens


@pytest.fixture
def split(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratings and items."""
    with sources.opened(made_up_movielens(tmp_path / "films")) as source:
        found = PandasEngine().ingest(source)
    tables = found.join(pd.DataFrame()).split(found.dataset, 0.8)
    return tables.ratings, tables.data.items


@pytest.mark.parametrize("users_at_once", [1, 7])
def test_of_a_few_users_after_the_other(split: tuple[pd.DataFrame, pd.DataFrame], users_at_once: int) -> None:
    ratings, items = split
    genres = terms.genre_names(items)
    item_terms = terms.genre_codes(items, genres)
    counted = {"item_terms": item_terms, "genres": genres, "window": 10}
    clicked = partial(term_recall.clicks_by_item, validation_share=0.2)
    popular = term_recall.popularity(clicked(ratings), term_recall.FITTED)
    found = partial(term_recall.outcomes, item_terms=item_terms, n_genres=len(genres), popular=popular, recipe=DEFAULT)
    number = np.unique(ratings["userid"], return_inverse=True)[1] // users_at_once
    some = [rows.reset_index(drop=True) for _, rows in ratings.groupby(number)]
    for function in (partial(terms.impression_terms, **counted), partial(terms.user_terms, **counted)):
        pd.testing.assert_frame_equal(pd.concat(map(function, some), ignore_index=True), function(ratings))
    for of_users in (term_recall.seen_items, user_state.newest_first):
        of_some = pd.concat(map(of_users, some), ignore_index=True)
        pd.testing.assert_frame_equal(of_some, of_users(ratings))
    for function, keys in ((clicked, term_recall.CLICK_KEYS), (found, term_recall.OUTCOME_KEYS)):
        together = added_up(pd.concat(map(function, some)), keys)
        assert len(together)
        pd.testing.assert_frame_equal(together, added_up(function(ratings), keys))
        assert len(added_up(function(ratings[:0]), keys)) <= 2  # of nobody, too


def test_who_is_left_out_has_zeros_and_empty_lists() -> None:
    seen = pd.DataFrame({"userid": [2, 3], "seen": [[7], [8, 9]]})
    rows = for_everybody(seen, pd.Series([1, 2, 3, 5]), artifacts.USER_SEEN.columns)
    assert rows.to_numpy().tolist() == [[1, []], [2, [7]], [3, [8, 9]], [5, []]]
    counted = pd.DataFrame({"userid": [3], "Drama": np.array([4], np.int8)})
    rows = for_everybody(counted, pd.Series([2, 3]), artifacts.USER_TERMS.columns)
    assert rows.to_numpy().tolist() == [[2, 0], [3, 4]]
    assert rows["Drama"].dtype == np.int8
