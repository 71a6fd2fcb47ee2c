from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.parity import server_of
from offline_to_online.rank import (
    s1_feature_to_feast,
    s2_model_to_triton,
    s3_check_offline_and_online,
)
from offline_to_online.recall import s1_user_to_redis, s2_item_to_es
from offline_to_online.stores.redis import RedisStore
from online.clients.base import ServiceError, StoredError
from tests.free_ports import free_ports
from tests.synthetic_release import write_artifacts

STORE = RedisStore(Settings())


def test_a_refused_connection_names_address_and_remedy() -> None:
    with (
        pytest.raises(StepError, match=r"^Redis at unix:/.*OOM.*make up.*$"),
        STORE.translate_errors(),
    ):
        raise redis.ResponseError(
            "OOM command not allowed when used memory > 'maxmemory'."
        )


@pytest.mark.parametrize(
    ("error", "remedy"), [(ServiceError, "make up"), (StoredError, "make sync")]
)
def test_client_errors_become_store_errors(
    error: type[ServiceError], remedy: str
) -> None:
    with (
        pytest.raises(StepError, match=rf"^Triton at .* is too slow.*{remedy}"),
        server_of(Settings()),
    ):
        raise error("triton", "is too slow")


def test_a_failed_check_and_a_bug_pass_through() -> None:
    with pytest.raises(CheckError, match="user 3"), STORE.translate_errors():
        raise CheckError("user 3")
    with pytest.raises(ZeroDivisionError), STORE.translate_errors():
        raise ZeroDivisionError


@pytest.fixture
def nothing_runs(tmp_path: Path) -> Settings:
    """Artifacts, and settings whose every port is one that nobody listens on."""
    write_artifacts(tmp_path)
    (port,) = free_ports(1)
    services: dict[str, Any] = {
        name: {"port": port} for name in ("redis", "elasticsearch", "feast")
    }
    return Settings(exchange_dir=tmp_path, **services)


@pytest.mark.parametrize(
    ("step", "service"),
    [
        (s1_user_to_redis, "Redis"),
        (s2_item_to_es, "Elasticsearch"),
        (s1_feature_to_feast, "Feast"),
        (s2_model_to_triton, "Triton"),
        (s3_check_offline_and_online, "Redis"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_step_without_its_service_says_which_one_and_where(
    nothing_runs: Settings, step: ModuleType, service: str
) -> None:
    with pytest.raises(StepError) as caught:
        step.main(nothing_runs)
    said = str(caught.value)
    assert said.startswith(service)
    assert (
        "online/triton-sockets/http.sock"
        if service == "Triton"
        else str(nothing_runs.redis.port)
    ) in said
    assert "make up" in said
    assert "\n" not in said
