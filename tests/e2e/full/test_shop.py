"""A shop's own data go live in the demo's stack: ids are strings, views have no value, nothing has an attribute."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from data_exchange_center import artifacts
from data_exchange_center.release_parts import read_own_ids
from tests.e2e.road import DEMO_SECONDS, Road
from tests.made_up_data import shop


@dataclasses.dataclass(frozen=True)
class Shop:
    """The road with the shop's data on it, and what the steps said."""

    road: Road
    release: str
    said: str

    def answer(self, **body: Any) -> requests.Response:
        return requests.post(f"{self.road.settings.server.url}/ml/rec", json=body, timeout=10)


@contextmanager
def selling(road: Road, data: Path) -> Iterator[Shop]:
    """The demo's stack with other data live on it."""
    before = road.recommend(1).json()["release"]
    checked = road.step("offline_to_online/rank/s3_check_offline_and_online.py")  # it may have been loaded again
    assert checked.returncode == 0, checked.stdout
    mine = dataclasses.replace(road, env={**road.env, "RECSYS_DATA": str(data)})
    said = ""
    with road.artifacts_kept():
        for target in ("offline", "sync"):
            done = mine.run("make", target, seconds=DEMO_SECONDS)
            said += done.stdout
            assert done.returncode == 0, said
        (release,) = set(re.findall(r"release (\w{12}) is live", said))  # the log says it, too
        yield Shop(mine, release, said)
    road.go_back(before)


@pytest.fixture(scope="module")
def sold(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with selling(road, shop(tmp_path_factory.mktemp("own") / "shop")) as found:
        yield found


def test_every_check_was_passed(sold: Shop) -> None:
    assert f"release {sold.release} has passed" in sold.said
    assert "each read back equal to its source" in sold.said
    assert "Traceback" not in sold.said


def test_fifty_unseen_items_by_the_shops_own_ids(sold: Shop) -> None:
    folder = sold.road.settings.exchange_dir
    ids, seen = read_own_ids(folder), artifacts.USER_SEEN.read(folder).set_index("userid")["seen"]
    few = seen[seen.map(len) <= 25]
    for number in few.index[:20]:
        answer = sold.answer(userid=ids.users[number], explain=True).json()
        assert (answer["release"], answer["userid"]) == (sold.release, ids.users[number])
        itemids = [item["itemid"] for item in answer["item_list"]]
        assert len(set(itemids)) == 50
        assert set(itemids) <= set(answer["recall"]["fused"]) <= set(ids.items.values())
        assert not set(itemids) & {ids.items[item] for item in seen[number]}
        assert all(list(item) == ["itemid", "score", "title"] for item in answer["item_list"])


def test_somebody_unknown_and_a_whole_number(sold: Shop) -> None:
    unknown = sold.answer(userid="nobody / at all").json()
    assert unknown["cold_start"] is True
    assert len(unknown["item_list"]) == 50
    wrong = sold.answer(userid=1)
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (400, "userid")
    assert "must be a string" in wrong.json()["error"]["message"]


def test_the_client_asks_for_the_first_user_and_shows_curl(sold: Shop) -> None:
    first = read_own_ids(sold.road.settings.exchange_dir).users[1]
    done = sold.road.step("online/main/s2_client.py")
    assert done.returncode == 0, done.stdout
    assert f"For user {first}" in done.stdout
    (told,) = re.findall(r"Ask it yourself:  (curl .*)", done.stdout)
    again = sold.road.run("bash", "-c", told)
    assert f'"userid":"{first}"' in again.stdout.replace('": "', '":"')
    assert "SKU/" in done.stdout
