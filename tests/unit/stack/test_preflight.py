import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_exchange_center.settings import Settings
from stack import preflight
from stack.commands import PROGRAMS, SERVICES, by_name
from stack.service import Service, StackError
from stack.triton import service as triton
from tests.free_ports import change


def refused(by: str, check: Callable[..., object], *arguments: object) -> None:
    """The check refuses in one sentence that names the setting or command."""
    with pytest.raises(StackError, match=by) as error:
        check(*arguments)
    assert "\n" not in str(error.value)


def test_an_exchange_folder_of_another_user_or_on_a_full_disk(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight.check_folder(settings)
    online = settings.exchange_dir / "online"
    assert online.stat().st_mode & 0o777 == 0o700
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1.2e9))
        refused("1.2 GB.*RECSYS_EXCHANGE_DIR", preflight.check_folder, settings)
    monkeypatch.setattr(os, "geteuid", lambda: online.stat().st_uid + 1)
    refused("RECSYS_EXCHANGE_DIR", preflight.check_folder, settings)


def test_a_taken_port_names_its_holder_and_setting(settings: Settings) -> None:
    port = settings.triton.metrics_port
    with socket.create_server(("127.0.0.1", port)):
        by = f"{port}.*Triton.*pid {os.getpid()}.*RECSYS_TRITON__METRICS_PORT"
        refused(by, preflight.check_ports, settings, SERVICES)
        preflight.check_ports(settings, [by_name("redis")])  # Triton is not started


def test_two_services_on_one_port(settings: Settings) -> None:
    both = change(settings, "feast", port=settings.elasticsearch.port)
    by = "RECSYS_FEAST__PORT and RECSYS_ELASTICSEARCH__PORT"
    refused(by, preflight.check_ports, both, SERVICES)


def test_redis_of_a_container_on_the_same_folder(settings: Settings) -> None:
    folder = settings.service_dir("redis")
    folder.mkdir(parents=True)
    preflight.check_containers(settings)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused("make docker-down", preflight.check_containers, settings)
    preflight.check_containers(settings)


@pytest.mark.parametrize("name", ["exchange_dir", "services_dir"])
def test_a_path_with_other_letters_than_ascii(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    preflight.check_paths(settings)
    other = settings.model_copy(update={name: tmp_path / "épices"})
    refused(f"RECSYS_{name.upper()}", preflight.check_paths, other)


@pytest.mark.parametrize("minor", [7, 14])
def test_a_python_that_only_triton_cannot_use(
    settings: Settings, minor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, minor, 0))
    refused(r"Python 3\.8 to 3\.13", preflight.check, settings, SERVICES)
    preflight.check(settings, [by_name("server")])


def test_no_libpython_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "libpython_dir", lambda: None)
    refused(f"libpython{triton.PYTHON}", triton.check_python)


@pytest.mark.parametrize(
    ("service", "host"),
    [*((service, "10.0.0.1") for service in PROGRAMS), (SERVICES[0], "0.0.0.0")],
)
def test_a_host_that_is_not_the_local_services(
    settings: Settings, service: Service, host: str
) -> None:
    there = change(settings, service.name, host=host)
    by = f"RECSYS_{service.name.upper()}__HOST"
    refused(by, preflight.check_host, there, service)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_the_server_has_keys_and_may_be_opened(settings: Settings, host: str) -> None:
    preflight.check_host(change(settings, "server", host=host), by_name("server"))


def test_an_unknown_service_names_those_there_are() -> None:
    refused("redis, elasticsearch, feast", by_name, "reddis")
