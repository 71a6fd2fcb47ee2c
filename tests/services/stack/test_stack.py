"""The stack for real: what is started answers, what is killed comes back, what is stopped is gone, data stays."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests
from pydantic import SecretStr
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from stack import commands
from stack.commands import SERVICES, by_name
from stack.service import LOOPBACK, NotReadyError, StackError
from stack.supervision import Supervisor, members
from tests.free_ports import change, settings_on_free_ports
from tests.own_stack import redis_of


@retry(
    stop=stop_after_delay(180),
    wait=wait_fixed(0.1),
    retry=retry_if_exception_type((NotReadyError, AssertionError)),
)
def until_back(settings: Settings, name: str, former_pid: int) -> None:
    info = Supervisor(settings).processes()[name]
    assert info["pid"] not in (0, former_pid)
    by_name(name).version(settings)


def test_nobody_listens_beyond_this_machine(stack: Settings) -> None:
    """Elasticsearch, Feast and Triton ask for no password, so nobody else may reach them."""
    addresses = listening(stack)
    assert {address.ip for address in addresses} <= {
        LOOPBACK,
        "::1",
        f"::ffff:{LOOPBACK}",
    }


@retry(
    stop=stop_after_delay(120),
    wait=wait_fixed(0.1),
    retry=retry_if_exception_type(AssertionError),
)
def listening(settings: Settings) -> list[Any]:
    """Addresses that the services' processes listen on, once there is one for each port: a worker may be replaced."""
    pids = {process.pid for process in members(settings)}
    found = [
        connection.laddr
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.pid in pids
    ]
    expected = {
        number for service in SERVICES for number in service.numbers(settings).values()
    }
    assert expected <= {each.port for each in found}
    return found


@pytest.mark.parametrize("name", [service.name for service in SERVICES])
def test_a_killed_service_comes_back(stack: Settings, name: str) -> None:
    pid = Supervisor(stack).processes()[name]["pid"]
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    family[0].send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []  # a worker that outlives its master would hold the port
    until_back(stack, name, pid)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings for a stack that a test may stop; down at the end."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("own"))
    yield settings
    commands.down(settings, None)


class TestOwnStack:
    """These stop a stack, so they have one of their own: Redis and Elasticsearch."""

    names = ("redis", "elasticsearch")

    def test_down_and_up_keep_the_data_and_leave_no_process(
        self, own: Settings
    ) -> None:
        services = [by_name(name) for name in self.names]
        document = f"{own.elasticsearch.url}/test/_doc/1"
        commands.up(own, services)
        with redis_of(own, decode_responses=True) as client:
            client.set("test:key", "value")
        requests.put(
            document, json={"a": 1}, auth=own.elasticsearch.login, timeout=30
        ).raise_for_status()

        started = members(own)
        assert len(started) >= 3  # supervisord and two services
        commands.down(own, None)
        assert members(own) == []
        # one that has ended is listed until init reaps it
        assert psutil.wait_procs(started, timeout=30)[1] == []

        commands.up(own, services)
        with redis_of(own, decode_responses=True) as client:
            assert client.get("test:key") == "value"
        answer = requests.get(document, auth=own.elasticsearch.login, timeout=30)
        assert answer.json()["_source"] == {"a": 1}

    def test_a_new_password_restarts_redis_and_is_required(self, own: Settings) -> None:
        secret = change(own, "redis", password=SecretStr("hush"))
        try:
            commands.up(own, [by_name("redis")])
            commands.up(secret, [by_name("redis")])
            with redis_of(own) as client, pytest.raises(redis.AuthenticationError):
                client.ping()
        finally:
            commands.down(own, None)

    def test_a_service_that_ends_at_once_shows_the_end_of_its_log(
        self, own: Settings, tmp_path: Path
    ) -> None:
        broken = own.service_dir("redis") / "appendonlydir" / "appendonly.aof.manifest"
        broken.parent.mkdir(parents=True, exist_ok=True)
        whole = broken.read_bytes() if broken.exists() else b""
        broken.write_bytes(b"this is no manifest\r\n" * 10)
        try:
            with pytest.raises(
                StackError,
                match=r"(?s)Redis ended right after its start.*AOF manifest file",
            ):
                commands.up(own, [by_name("redis")])
        finally:
            commands.down(own, None)
            broken.write_bytes(whole)
