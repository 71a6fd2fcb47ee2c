from __future__ import annotations

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
from stack.commands import SERVICES, by_name
from stack.service import StackError
from stack.triton import service as triton


def refused(check: Callable[..., None], *arguments: object, by: str) -> None:
    """The check refuses in one sentence that names the setting or command."""
    with pytest.raises(StackError, match=by) as error:
        check(*arguments)
    assert "\n" not in str(error.value)


def moved(settings: Settings, service: str, **values: object) -> Settings:
    return settings.model_copy(
        update={service: getattr(settings, service).model_copy(update=values)}
    )


def test_an_exchange_folder_of_another_user_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.exchange_dir.mkdir(parents=True, exist_ok=True)
    preflight.check_owner(settings)
    assert (settings.exchange_dir / "online").stat().st_mode & 0o777 == 0o700
    owner = settings.exchange_dir.stat().st_uid
    monkeypatch.setattr(preflight.os, "geteuid", lambda: owner + 1)
    refused(preflight.check_owner, settings, by="RECSYS_EXCHANGE_DIR")


def test_a_taken_port_names_its_holder_and_setting(settings: Settings) -> None:
    port = settings.triton.metrics_port
    with socket.create_server(("127.0.0.1", port)):
        by = f"{port}.*Triton.*pid {os.getpid()}.*RECSYS_TRITON__METRICS_PORT"
        refused(preflight.check_ports, settings, SERVICES, by=by)
        preflight.check_ports(settings, [by_name("redis")])  # Triton is not started


def test_two_services_on_one_port(settings: Settings) -> None:
    both = moved(settings, "feast", port=settings.elasticsearch.port)
    by = "RECSYS_FEAST__PORT and RECSYS_ELASTICSEARCH__PORT"
    refused(preflight.check_ports, both, SERVICES, by=by)
    running = [by_name("elasticsearch"), by_name("feast")]
    refused(preflight.check, both, [], running, by=by)


def test_redis_of_a_container_on_the_same_folder(settings: Settings) -> None:
    folder = settings.service_dir("redis")
    folder.mkdir(parents=True)
    preflight.check_containers(settings)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(preflight.check_containers, settings, by="make docker-down")
    preflight.check_containers(settings)


@pytest.mark.parametrize("name", ["exchange_dir", "services_dir"])
def test_a_path_with_other_letters_than_ascii(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    preflight.check_paths(settings)
    other = settings.model_copy(update={name: tmp_path / "épices"})
    refused(preflight.check_paths, other, by=f"RECSYS_{name.upper()}")


def test_a_full_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1.2e9))
    refused(preflight.check_disk, settings, by="1.2 GB.*RECSYS_EXCHANGE_DIR")


@pytest.mark.parametrize("minor", [7, 14])
def test_a_python_that_only_triton_cannot_use(
    settings: Settings, minor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, minor, 0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9e9))
    refused(preflight.check, settings, SERVICES, by=r"Python 3\.8 to 3\.13")
    preflight.check(settings, [by_name("server")])


def test_no_libpython_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "libpython_dir", lambda: None)
    monkeypatch.setattr(triton, "_loader_finds_libpython", lambda: False)
    refused(triton.check_libpython, by=f"libpython{triton.PYTHON}")


@pytest.mark.parametrize("name", ["elasticsearch", "triton"])
def test_missing_software_is_refused(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    empty = settings.model_copy(update={"services_dir": tmp_path / "nothing"})
    refused(preflight.check_software, empty, [by_name(name)], by="make setup")


@pytest.mark.parametrize(
    ("service", "values"),
    [
        *((service.name, {"host": "0.0.0.0"}) for service in SERVICES),
        ("redis", {"host": "redis"}),
        ("elasticsearch", {"scheme": "https"}),
    ],
)
def test_the_four_services_stay_on_this_machine(
    settings: Settings, service: str, values: dict[str, str]
) -> None:
    (name,) = values
    by = f"RECSYS_{service.upper()}__{name.upper()}"
    refused(preflight.check_hosts, moved(settings, service, **values), SERVICES, by=by)


def test_an_unknown_service_names_those_there_are() -> None:
    refused(by_name, "reddis", by="redis, elasticsearch, feast")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "10.0.0.1"])
def test_the_server_has_keys_and_may_be_opened(settings: Settings, host: str) -> None:
    there = moved(settings, "server", host=host)
    if host == "10.0.0.1":
        refused(preflight.check_server_host, there, by="RECSYS_SERVER__HOST")
    else:
        preflight.check_server_host(there)


def test_a_service_on_an_unknown_host(settings: Settings) -> None:
    preflight.check_names(settings)
    elsewhere = moved(settings, "feast", host="no.such.host.invalid")
    refused(preflight.check_names, elsewhere, by="RECSYS_FEAST__HOST")
