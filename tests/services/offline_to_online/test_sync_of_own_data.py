"""Releases of string ids, and of hundreds of categories, take turns in one server over the real services."""

from __future__ import annotations

from contextlib import closing

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from data_exchange_center.dataset import OwnId
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from offline_to_online.releases import go_back
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, NoReleaseError, Request, WrongIdError
from tests.free_ports import patient
from tests.own_ids import name_by_strings, user_of
from tests.services.offline_to_online.releases import SYNC
from tests.synthetic_release import write_artifacts

MANY = tuple(f"category {n}" for n in range(300))  # 600 statistics a user and 300 flags an item


def synced(settings: Settings) -> str:
    for step in SYNC:
        step.main(settings)
    return release_of_artifacts(settings).release


def ask(recommender: Recommender, userid: OwnId) -> Answer:
    """Ask again while a release is being opened, which takes a busy machine its time."""
    retrying = Retrying(stop=stop_after_delay(60), retry=retry_if_exception_type(NoReleaseError), reraise=True)
    return retrying(recommender.recommend, Request(userid=userid, timestamp=1_000_200_000, strict=True))


def test_whole_numbers_and_hundreds_of_categories_take_over_from_strings_and_back(clean_stack: Settings) -> None:
    clean_stack = patient(clean_stack, 10.0)
    named = clean_stack.model_copy(update={"recipe_name": "default"})
    write_artifacts(named.exchange_dir, recipe="default", seed=11)
    name_by_strings(named.exchange_dir, "default")
    first = synced(named)
    with closing(Recommender.from_settings(named)) as recommender:
        before = ask(recommender, user_of(5))
        assert (before.release, before.outcomes, len(before.item_list)) == (first, (), 50)
        many = clean_stack.model_copy(update={"recipe_name": "source"})
        write_artifacts(many.exchange_dir, recipe="source", seed=12, genres=MANY)
        second = synced(many)
        answer = ask(recommender, 5)  # a whole number: the former release has none
        assert answer.release == second
        told = answer.model_dump(mode="json")["item_list"]
        assert len(told) == 50
        assert all(type(item["itemid"]) is int and set(item["genres"]) <= set(MANY) for item in told)
        with pytest.raises(WrongIdError, match="a whole number"):
            ask(recommender, user_of(5))
        go_back(many, first)
        assert ask(recommender, user_of(5)).item_list == before.item_list
