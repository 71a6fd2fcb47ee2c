"""Releases whose ids are strings, or that have hundreds of categories, through the whole sync and the server.

The tests run in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from offline_to_online.releases import go_back
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, NoReleaseError, Outcome, Request, WrongIdError
from tests.own_ids import item_of, name_by_strings, user_of
from tests.services.offline_to_online.releases import SYNC
from tests.synthetic_release import write_artifacts

MANY = tuple(f"category {n}" for n in range(300))


def synced(settings: Settings) -> str:
    for step in SYNC:
        step.main(settings)
    return release_of_artifacts(settings).release


@pytest.fixture(scope="module")
def named(clean_stack: Settings) -> Settings:
    """Settings of a release whose users and items have strings for ids."""
    settings = clean_stack.model_copy(update={"recipe_name": "default"})
    write_artifacts(settings.exchange_dir, recipe="default", seed=11)
    name_by_strings(settings.exchange_dir, "default")
    return settings


@pytest.fixture(scope="module")
def recommender(stack: Settings) -> Iterator[Recommender]:
    """One server for all of these releases."""
    with closing(Recommender.from_settings(stack)) as recommender:
        yield recommender


def ask(recommender: Recommender, userid: OwnId) -> Answer:
    return recommender.recommend(Request(userid=userid, timestamp=1_000_200_000, explain=True, strict=True))


def once_open(recommender: Recommender, userid: OwnId) -> Answer:
    """The first answer of a release that is being opened, which takes a busy machine its time."""
    retrying = Retrying(stop=stop_after_delay(60), retry=retry_if_exception_type(NoReleaseError), reraise=True)
    return retrying(ask, recommender, userid)


@pytest.fixture(scope="module")
def first(named: Settings) -> str:
    return synced(named)


def test_strings_are_asked_for_and_answered(named: Settings, first: str, recommender: Recommender) -> None:
    seen = artifacts.USER_SEEN.read(named.exchange_dir).set_index(Columns.USER)[Columns.SEEN]
    for number in (1, 2, 7, 60):
        answer = ask(recommender, user_of(number))
        assert (answer.release, answer.outcomes) == (first, ())
        told = answer.model_dump(mode="json")
        itemids = [item["itemid"] for item in told["item_list"]]
        assert len(itemids) == len(set(itemids)) == 50
        assert not set(itemids) & {item_of(item) for item in seen[number]}
        assert set(itemids) <= set(told["recall"]["fused"])
        assert all(item["title"] == item["itemid"] for item in told["item_list"])
    assert ask(recommender, "nobody").outcomes == (Outcome.COLD_START,)
    with pytest.raises(WrongIdError, match=r'for example {"userid": "1"}'):
        ask(recommender, 1)


def test_whole_numbers_and_hundreds_of_categories_take_over_and_back(
    stack: Settings, first: str, recommender: Recommender
) -> None:
    """300 genres are 600 statistics a user and 300 flags an item."""
    settings = stack.model_copy(update={"recipe_name": "source"})
    write_artifacts(settings.exchange_dir, recipe="source", seed=12, genres=MANY)
    before = ask(recommender, user_of(5))
    second = synced(settings)
    answer = once_open(recommender, 5)  # a whole number: the former release has none
    assert answer.release == second
    told = answer.model_dump(mode="json")["item_list"]
    assert len(told) == 50
    assert all(type(item["itemid"]) is int and set(item["genres"]) <= set(MANY) for item in told)
    with pytest.raises(WrongIdError, match="a whole number"):
        ask(recommender, user_of(5))
    go_back(stack, first)
    assert once_open(recommender, user_of(5)).item_list == before.item_list
