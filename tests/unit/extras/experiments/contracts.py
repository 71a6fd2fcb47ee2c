"""Contract of the store of experiments: run against its fake and against Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from data_exchange_center.settings import Settings
from extras.experiments.declaration import EXPERIMENTS as ALL
from extras.experiments.declaration import (
    Declaration,
    ExperimentError,
    Experiments,
    started,
    stopped,
)
from extras.experiments.store import ExperimentStore
from online.clients.redis import RedisUsers

LIVE = "aaaaaaaaaaaa"


def started_one(
    experiments: Experiments, name: str, share: float = 0.01
) -> Experiments:
    """With one more, of the live release against itself."""
    arms = {"a": {"release": LIVE}, "b": {"release": LIVE}}
    declared = Declaration.model_validate({"name": name, "arms": arms, "share": share})
    return started(experiments, declared, {LIVE: "made up"}, len(experiments))


class ExperimentStoreContract:
    """A subclass gives ``client``, and other ``users`` where it has no Redis."""

    @pytest.fixture
    def users(self, settings: Settings) -> Iterator[RedisUsers]:
        with closing(RedisUsers(settings.redis)) as users:
            yield users

    def test_servers_read_the_running_ones(
        self, client: ExperimentStore, users: RedisUsers
    ) -> None:
        assert client.call(None) == ()
        assert users.control().experiments is None
        client.update(lambda before: started_one(before, "ranker"))
        client.update(lambda before: started_one(before, "other"))
        assert client.update(
            lambda before: stopped(before, "ranker", 3)
        ) == client.call(None)
        raw = users.control().experiments
        assert [each.name for each in ALL.validate_json(raw)] == ["other"]
        assert {each.name for each in client.call(None)} == {"ranker", "other"}
        client.update(lambda before: stopped(before, "other", 4))
        assert users.control().experiments is None

    def test_a_change_that_is_refused_changes_nothing(
        self, client: ExperimentStore, users: RedisUsers
    ) -> None:
        client.update(lambda before: started_one(before, "ranker"))
        with pytest.raises(
            ExperimentError, match="There is an experiment called 'ranker'"
        ):
            client.update(lambda before: started_one(before, "ranker"))
        assert [each.name for each in client.call(None)] == ["ranker"]
