"""Attacks of another account of this machine on the services."""

import multiprocessing
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import onnx
import pytest
import redis
import yaml
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from onnx import TensorProto, helper
from tenacity import (
    retry,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)

from data_exchange_center.settings import Settings
from extras.doctor import __main__ as doctor
from online.clients.http import Http
from online.recommend.recommend import Recommender
from stack.redis import REDIS, binary
from stack.service import LOOPBACK, ROOT, NotReadyError
from stack.supervision import members
from stack.triton.service import TRITON
from tests.free_ports import settings_on_free_ports
from tests.own_stack import own_stack

# Attacks of another account of this machine on the services.

SHARED_MEMORY: Final = Path("/dev/shm")
NOBODY: Final = 65534
MODEL: Final = "echo"
CONFIG: Final = """\
platform: "onnxruntime_onnx"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
REQUEST: Final = (
    b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [7.5]}]}'
)


def write_model(settings: Settings) -> None:
    """Put a model that returns its input into Triton's repository."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1])
        for name in "xy"
    )
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], MODEL, [x], [y]
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    folder = settings.service_dir("triton") / MODEL
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    onnx.save(model, folder / "1" / "model.onnx")


def open_what_appears(parent: Connection) -> None:
    """As another account, open each file of the shared memory as soon as it lets itself be opened; send the names."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    opened: set[str] = set()
    parent.send("ready")
    while not parent.poll(timeout=1e-3):
        for path in SHARED_MEMORY.iterdir():
            if path.name not in opened and os.access(path, os.R_OK):
                opened.add(path.name)
    parent.send(opened)


@contextmanager
def another_account() -> Iterator[Callable[[], set[str]]]:
    """What returns the names of the files that another account could open so far."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=open_what_appears, args=(there,))
    process.start()

    def opened() -> set[str]:
        here.send("stop")
        names: set[str] = here.recv()
        return names

    try:
        assert here.recv() == "ready"
        yield opened
    finally:
        process.terminate()
        process.join()


def shared_memory(settings: Settings) -> set[Path]:
    """Files of the shared memory that processes of this stack have mapped."""
    mapped = (
        Path(each.path)
        for process in members(settings)
        for each in process.memory_maps()
    )
    return {path for path in mapped if path.parent == SHARED_MEMORY}


@retry(
    stop=stop_after_delay(60),
    wait=wait_fixed(0.1),
    retry=retry_if_result(lambda body: body is None),
)
def answer(settings: Settings) -> bytes | None:
    with closing(Http(settings.triton.url, timeout_s=30)) as http:
        answered = http.post(f"/v2/models/{MODEL}/infer", REQUEST)
    return answered.body if answered.status == 200 else None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
def test_triton_s_shared_memory_is_closed_to_others(tmp_path: Path) -> None:
    """From its creation on: whoever has opened it once goes on reading."""
    settings = settings_on_free_ports(tmp_path)
    write_model(settings)
    with another_account() as opened, own_stack(settings, [TRITON]):
        assert b"7.5" in (answer(settings) or b"")
        made = shared_memory(settings)
        assert made
        assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
        assert not {path.name for path in made} & opened()


def test_who_listens_on_the_port_gets_no_password(tmp_path: Path) -> None:
    """While Redis is down another account may listen there; its owner's commands do not connect."""
    settings = settings_on_free_ports(tmp_path)
    REDIS.prepare(settings)
    assert settings.redis.secret
    with socket.create_server((LOOPBACK, settings.redis.port)) as listener:
        with pytest.raises(NotReadyError):
            REDIS.version(settings)  # what `make status` asks
        with closing(Recommender.from_settings(settings)) as server:
            found = list(doctor.services(server.clients))
        assert "down" in {each.state for each in found if each.what == "redis"}
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


# The containers' commands, with and without a password: Redis asks for it, and Feast's client knows it.


def container_command(service: str, secret: Path, **changes: str) -> list[str]:
    """The container's command, on this machine: the secret elsewhere, and some words of the shell's line replaced."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    shell, option, line = compose["services"][service]["command"]
    for old, new in {
        "$$": "$",
        "/run/secrets/redis/password": str(secret),
        **changes,
    }.items():
        assert old in line
        line = line.replace(old, new)
    return [shell, option, line]


@pytest.mark.parametrize("password", ["", "hush", "p@ss w0rd #1 $x'"])
def test_redis_and_feast_understand_a_password_and_an_empty_one(
    password: str, tmp_path: Path
) -> None:
    settings = settings_on_free_ports(tmp_path)
    secret = tmp_path / "redis_password"
    secret.write_text(password)
    own = f" --port {settings.redis.port} --bind {LOOPBACK} --dir {tmp_path}"
    folders = {
        "/tmp/redis.conf": str(tmp_path / "redis.conf"),
        "/data/": f"{tmp_path}/",
    }
    command = container_command("redis", secret, **folders)
    command[2] += own
    path = f"{Path(binary()).parent}:{os.defpath}"
    server = subprocess.Popen(command, env={"PATH": path})
    try:
        listening = retry(
            stop=stop_after_delay(60),
            wait=wait_fixed(0.05),
            retry=retry_if_exception_type(OSError),
        )
        listening(socket.create_connection)((LOOPBACK, settings.redis.port)).close()
        reported = container_command("feast", secret)
        reported[2] = reported[2].partition("exec ")[0] + 'printf "%s" "$FEAST_REDIS"'
        environment = {
            "FEAST_REDIS_ADDRESS": f"{LOOPBACK}:{settings.redis.port},db=1",
            "PATH": os.defpath,
        }
        address = subprocess.run(
            reported, env=environment, capture_output=True, text=True, check=True
        ).stdout
        store = RedisOnlineStore()._get_client(
            RedisOnlineStoreConfig(connection_string=address)
        )
        assert store.ping()
        unknown_user = redis.Redis(port=settings.redis.port)
        if password:
            with pytest.raises(redis.AuthenticationError):
                unknown_user.ping()
        else:
            assert unknown_user.ping()
    finally:
        server.terminate()
        server.wait(120)
