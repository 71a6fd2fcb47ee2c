from __future__ import annotations

import pytest
from redis.crc import key_slot

from data_exchange_center import wire
from data_exchange_center.wire import RedisLayout, replacement

RELEASE = "aaaaaaaaaaaa"
FOR_ALL = wire.LIVE_KEY, wire.FORGOTTEN_COUNT_KEY, wire.EXPERIMENTS_KEY, wire.manifest_key(RELEASE)


def slot(key: str) -> int:
    return key_slot(key.encode())


@pytest.mark.parametrize("userid", [1, "anna", "{x}", "}{", "a:b"])
def test_in_a_cluster_all_that_a_request_reads_is_in_one_slot(userid: int | str) -> None:
    layout, log = RedisLayout(cluster=True), wire.event_log_key("films", wire.event_partition(userid))
    keys = {layout.user(RELEASE, userid), wire.user_events_key("films", userid), log}
    keys |= {wire.noted_events_key("films", userid), wire.exposures_key(wire.event_partition(userid))}
    keys |= {layout.beside(key, userid) for key in FOR_ALL}
    assert len({slot(key) for key in keys}) == 1


def test_every_partition_has_a_copy_of_what_is_for_all() -> None:
    layout = RedisLayout(cluster=True)
    for key in FOR_ALL:
        read = {layout.beside(key, userid) for userid in range(1_000)}
        assert read == set(layout.copies(key))
        assert len(read) == wire.EVENT_PARTITIONS
        assert key not in read


def test_on_one_server_the_keys_are_what_they_were() -> None:
    layout = RedisLayout()
    assert layout.user(RELEASE, "anna") == f"ml:{RELEASE}:user:anna"
    assert [layout.beside(key, "anna") for key in FOR_ALL] == list(FOR_ALL)
    assert all(layout.copies(key) == () for key in FOR_ALL)


def test_what_replaces_a_key_is_in_its_slot_and_of_its_release() -> None:
    for key in (wire.ids_key(RELEASE), wire.event_counts_key(RELEASE)):
        assert slot(replacement(key)) == slot(key)
        assert replacement(key).startswith(f"ml:{RELEASE}:")


def test_the_partitions_are_spread_over_three_masters() -> None:
    masters = [slot(wire.exposures_key(partition)) * 3 // 16_384 for partition in range(wire.EVENT_PARTITIONS)]
    assert sorted(masters.count(master) for master in range(3)) == [4, 6, 6]
