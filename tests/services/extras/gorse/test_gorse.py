"""Gorse's own Python client on a server over the real services."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from gorse import Gorse

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.keys import hook as keys
from tests.services.online.gunicorn_server import running
from tests.unit.online.world import UNKNOWN_USER, DefaultWorld, World

pytestmark = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)


def test_gorses_own_client_is_understood(patient: Settings, world: World, tmp_path: Path) -> None:
    path = tmp_path / "api_keys"
    key = keys.add(path, "gorse")
    item = world.trained[7]
    feedback = {
        "FeedbackType": "rating", "UserId": str(UNKNOWN_USER), "ItemId": str(item), "Value": 4.0,
        "Timestamp": "2022-02-24",
    }  # fmt: skip
    with running(tmp_path, patient, keys_file=path, workers=1, budget_ms=10_000) as (settings, _):
        client = Gorse(settings.server.url, key)
        popular = [each.id for each in client.get_recommend(str(UNKNOWN_USER))]
        session = client.session_recommend([feedback])
        assert client.insert_feedbacks([feedback])["RowAffected"] == 1
        assert client.insert_feedbacks([feedback])["RowAffected"] == 0
        personal = [each.id for each in client.get_recommend(str(UNKNOWN_USER))]
        assert personal == [each["Id"] for each in session] != popular
        assert str(item) not in personal
        assert len(client.get_neighbors(str(item), n=5)) == 5
    with redis.Redis(port=patient.redis.port) as store:
        stored = store.hgetall(wire.user_events_key(world.dataset, UNKNOWN_USER))
        store.delete(
            wire.user_events_key(world.dataset, UNKNOWN_USER),
            wire.event_log_key(world.dataset, wire.event_partition(UNKNOWN_USER)),
        )
    assert len(stored) == 1
