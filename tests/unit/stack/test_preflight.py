from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_exchange_center.settings import Settings
from stack import preflight
from stack.commands import SERVICES, by_name
from stack.service import Service, StackError
from stack.triton import service as triton


@contextmanager
def refused(*parts: str) -> Iterator[None]:
    """The block is refused in one sentence that has these parts."""
    with pytest.raises(StackError) as error:
        yield
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    for part in parts:
        assert part in text


def test_an_exchange_folder_of_another_user_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.exchange_dir.mkdir(parents=True, exist_ok=True)
    preflight.check_owner(settings)
    assert (settings.exchange_dir / "online").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(
        preflight.os, "geteuid", lambda: settings.exchange_dir.stat().st_uid + 1
    )
    with pytest.raises(StackError, match=r"belongs to user \d+.*RECSYS_EXCHANGE_DIR"):
        preflight.check_owner(settings)


def test_a_taken_port_names_port_service_holder_and_setting(settings: Settings) -> None:
    port = settings.triton.metrics_port
    with socket.create_server(("127.0.0.1", port)):
        with refused(
            str(port), "Triton", f"pid {os.getpid()}", "RECSYS_TRITON__METRICS_PORT"
        ):
            preflight.check_ports(settings, SERVICES)
        preflight.check_ports(settings, [by_name("redis")])  # Triton is not started


def test_two_services_on_one_port(settings: Settings) -> None:
    both = moved(settings, "feast", port=settings.elasticsearch.port)
    with refused("RECSYS_FEAST__PORT and RECSYS_ELASTICSEARCH__PORT are both"):
        preflight.check_ports(both, SERVICES)
    with refused("RECSYS_FEAST__PORT and RECSYS_ELASTICSEARCH__PORT are both"):
        preflight.check(both, [], running=[by_name("elasticsearch"), by_name("feast")])


def test_redis_of_a_container_on_the_same_folder(settings: Settings) -> None:
    folder = settings.service_dir("redis")
    folder.mkdir(parents=True)
    preflight.check_containers(settings)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with refused(
            f"containers run on {settings.exchange_dir}: end them first (make docker-down)"
        ):
            preflight.check_containers(settings)
    preflight.check_containers(settings)


@pytest.mark.parametrize("name", ["exchange_dir", "services_dir"])
def test_a_path_with_other_letters_than_ascii(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    preflight.check_paths(settings)
    with refused(f"RECSYS_{name.upper()}", "épices", "ASCII"):
        preflight.check_paths(settings.model_copy(update={name: tmp_path / "épices"}))


def test_a_full_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1.2e9))
    with refused(
        str(settings.exchange_dir),
        "1.2 GB free",
        "2 GB are needed",
        "RECSYS_EXCHANGE_DIR",
    ):
        preflight.check_disk(settings)


@pytest.mark.parametrize("minor", [7, 14])
def test_a_python_that_only_triton_cannot_use(
    settings: Settings, minor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, minor, 0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9e9))
    with refused("Python 3.8 to 3.13"):
        preflight.check(settings, SERVICES)
    preflight.check(settings, [by_name("server")])


def test_no_libpython_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "libpython_dir", lambda: None)
    monkeypatch.setattr(triton, "_loader_finds_libpython", lambda: False)
    with refused(f"install it (Debian and Ubuntu: libpython{triton.PYTHON})"):
        triton.check_libpython()


def test_missing_software_says_make_services(
    settings: Settings, tmp_path: Path
) -> None:
    empty = settings.model_copy(update={"services_dir": tmp_path / "nothing"})
    with refused("make setup"):
        preflight.check_software(empty, [by_name("elasticsearch")])
    with refused("Triton's environment"):
        preflight.check_software(empty, [by_name("triton")])


def moved(settings: Settings, service: str, **values: object) -> Settings:
    return settings.model_copy(
        update={service: getattr(settings, service).model_copy(update=values)}
    )


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_no_service_of_the_four_is_opened_to_others(
    settings: Settings, service: Service
) -> None:
    variable = f"RECSYS_{service.name.upper()}__HOST is '0.0.0.0'"
    with refused(variable, service.title, "127.0.0.1 alone", "unset it"):
        preflight.check_hosts(moved(settings, service.name, host="0.0.0.0"), SERVICES)


def test_remote_or_https_services_are_not_started(settings: Settings) -> None:
    with refused("RECSYS_REDIS__HOST is 'redis'"):
        preflight.check_hosts(moved(settings, "redis", host="redis"), SERVICES)
    with refused("RECSYS_ELASTICSEARCH__SCHEME"):
        preflight.check_hosts(
            moved(settings, "elasticsearch", scheme="https"), SERVICES
        )


def test_a_service_nobody_knows_names_those_there_are() -> None:
    with pytest.raises(
        StackError,
        match="no service is called 'reddis'; there are: redis, elasticsearch, feast",
    ):
        by_name("reddis")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_the_server_has_keys_and_may_be_opened(settings: Settings, host: str) -> None:
    preflight.check_server_host(moved(settings, "server", host=host))


def test_no_other_address_is_one_of_the_server(settings: Settings) -> None:
    with refused("RECSYS_SERVER__HOST is '10.0.0.1'", "0.0.0.0"):
        preflight.check_server_host(moved(settings, "server", host="10.0.0.1"))


def test_a_service_on_a_host_that_nobody_knows(settings: Settings) -> None:
    preflight.check_names(settings)
    with refused("RECSYS_FEAST__HOST is 'no.such.host.invalid'"):
        preflight.check_names(moved(settings, "feast", host="no.such.host.invalid"))
