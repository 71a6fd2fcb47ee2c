"""Releases of made-up artifacts, and what is answered from the one that is live."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from data_exchange_center.manifest import Published
from data_exchange_center.release_parts import read_own_ids
from data_exchange_center.settings import Settings
from offline_to_online.parity import CheckedRequest, online_answers, server_of
from offline_to_online.rank import (
    s1_feature_to_feast,
    s2_model_to_triton,
    s3_check_offline_and_online,
)
from offline_to_online.recall import s1_user_to_redis, s2_item_to_es
from offline_to_online.release import s1_go_live
from offline_to_online.stores.redis import RedisStore
from tests.synthetic_release import write_artifacts

LOADS: Final = (
    s1_user_to_redis,
    s2_item_to_es,
    s1_feature_to_feast,
    s2_model_to_triton,
)
SYNC: Final = (*LOADS, s3_check_offline_and_online, s1_go_live)
# userid -> time, after a break
REQUESTS: Final = dict.fromkeys((1, 2, 3), 1_000_200_000)


def written(settings: Settings, recipe: str, seed: int) -> Settings:
    """The artifacts of a release, put into the exchange folder; and the settings of its recipe."""
    write_artifacts(settings.exchange_dir, recipe=recipe, seed=seed)
    return settings.model_copy(update={"recipe_name": recipe})


def live(settings: Settings) -> Published:
    store = RedisStore(settings)
    release, _ = store.listed()
    return store.published(release)


def answer(settings: Settings, published: Published) -> list[CheckedRequest]:
    """The server's ranked lists of a few users."""
    with server_of(settings) as server:
        return online_answers(
            server, published, REQUESTS, read_own_ids(settings.exchange_dir).items
        )


def same(one: Sequence[CheckedRequest], other: Sequence[CheckedRequest]) -> bool:
    return all(
        np.array_equal(a.candidates.item_numbers, b.candidates.item_numbers)
        and np.array_equal(a.scores, b.scores)
        for a, b in zip(one, other, strict=True)
    )
