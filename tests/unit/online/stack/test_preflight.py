"""Each reason why the stack cannot start is one clear sentence that says what mends it."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_exchange_center.settings import Settings
from online.stack import preflight
from online.stack.catalogue import PROGRAMS, SERVICES, by_name
from online.stack.service import Service, StackError
from online.stack.triton import service as triton
from tests.free_ports import settings_on_free_ports


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_on_free_ports(tmp_path)


def sentence(error: pytest.ExceptionInfo[StackError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.fixture
def listener(settings: Settings) -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.triton.grpc_port))
        taken.listen()
        yield settings.triton.grpc_port


def test_a_taken_port_names_port_service_holder_and_setting(settings: Settings, listener: int) -> None:
    with pytest.raises(StackError) as error:
        preflight.check_ports(settings, SERVICES)
    text = sentence(error)
    for part in (str(listener), "Triton", f"pid {os.getpid()}", "RECSYS_TRITON__GRPC_PORT"):
        assert part in text


def test_a_taken_port_of_a_service_that_is_not_started_does_not_matter(settings: Settings, listener: int) -> None:
    assert preflight.is_taken(listener)
    preflight.check_ports(settings, [by_name("redis")])


def test_two_services_on_one_port(settings: Settings) -> None:
    both = settings.model_copy(update={"feast": settings.feast.model_copy(update={"port": settings.redis.port})})
    with pytest.raises(StackError) as error:
        preflight.check_ports(both, SERVICES)
    assert "RECSYS_FEAST__PORT and RECSYS_REDIS__PORT are both" in sentence(error)


def test_redis_of_a_container_on_the_same_folder(settings: Settings) -> None:
    folder = settings.service_dir("redis")
    folder.mkdir(parents=True)
    preflight.check_containers(settings)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StackError) as error:
            preflight.check_containers(settings)
    assert sentence(error).startswith(f"containers run on {settings.exchange_dir}: end them first (make docker-down)")
    preflight.check_containers(settings)


def test_a_full_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1.2e9))
    with pytest.raises(StackError) as error:
        preflight.check_disk(settings)
    text = sentence(error)
    for part in (str(settings.exchange_dir), "1.2 GB free", "2 GB are needed", "RECSYS_EXCHANGE_DIR"):
        assert part in text


@pytest.mark.parametrize("version", [(3, 7), (3, 14)])
def test_a_python_that_triton_has_no_stub_for(version: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    with pytest.raises(StackError) as error:
        triton.check_python()
    assert "Python 3.8 to 3.13" in sentence(error)


def test_no_libpython_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "libpython_dir", lambda: None)
    monkeypatch.setattr(triton, "_loader_finds_libpython", lambda: False)
    with pytest.raises(StackError) as error:
        triton.check_libpython()
    assert f"install it (Debian and Ubuntu: libpython{triton.PYTHON})" in sentence(error)


def test_missing_software_says_make_services(settings: Settings, tmp_path: Path) -> None:
    empty = settings.model_copy(update={"services_dir": tmp_path / "nothing"})
    with pytest.raises(StackError) as error:
        preflight.check_software(empty, [by_name("elasticsearch")])
    assert "make services" in sentence(error)
    with pytest.raises(StackError) as error:
        preflight.check_software(empty, [by_name("triton")])
    assert "Triton's environment" in sentence(error)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_no_service_of_the_four_is_opened_to_others(settings: Settings, service: Service) -> None:
    opened = getattr(settings, service.name).model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(StackError) as error:
        preflight.check_hosts(settings.model_copy(update={service.name: opened}), SERVICES)
    text = sentence(error)
    for part in (f"RECSYS_{service.name.upper()}__HOST is '0.0.0.0'", service.title, "127.0.0.1 alone", "unset it"):
        assert part in text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_the_server_has_keys_and_may_be_opened(settings: Settings, host: str) -> None:
    opened = settings.server.model_copy(update={"host": host})
    preflight.check_hosts(settings.model_copy(update={"server": opened}), PROGRAMS)


def test_a_service_elsewhere_is_not_for_the_local_stack(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"redis": settings.redis.model_copy(update={"host": "redis"})})
    with pytest.raises(StackError) as error:
        preflight.check_hosts(elsewhere, SERVICES)
    assert "RECSYS_REDIS__HOST is 'redis'" in sentence(error)


def test_https_is_not_for_the_local_stack(settings: Settings) -> None:
    secure = settings.elasticsearch.model_copy(update={"scheme": "https"})
    with pytest.raises(StackError) as error:
        preflight.check_hosts(settings.model_copy(update={"elasticsearch": secure}), SERVICES)
    assert "RECSYS_ELASTICSEARCH__SCHEME" in sentence(error)


def test_a_service_nobody_knows_names_those_there_are() -> None:
    with pytest.raises(StackError, match="no service is called 'reddis'; there are: redis, elasticsearch, feast"):
        by_name("reddis")
