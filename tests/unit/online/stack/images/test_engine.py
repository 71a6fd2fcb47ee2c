"""Docker is asked as docker.sh asks, and what it refuses is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from online.stack.images import engine
from online.stack.images.engine import Image
from online.stack.service import StackError


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker that prints `says` and complains what `complains` holds."""
    script = tmp_path / "docker"
    script.write_text(
        "#!/bin/sh\n"
        f"[ ! -e {tmp_path}/complains ] || {{ cat {tmp_path}/complains >&2; exit 1; }}\n"
        f'echo "$COMPOSE_FILE" > {tmp_path}/files\ncat {tmp_path}/says\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("images", raising=False)
    return tmp_path


def test_what_docker_complains_is_told_without_its_advice(docker: Path) -> None:
    (docker / "complains").write_text(
        "docker: unknown command: docker buildx\n\nRun 'docker --help' for more information\n"
    )
    with pytest.raises(StackError, match=r"^docker buildx: docker: unknown command: docker buildx$"):
        engine.docker("buildx", "ls")


def test_without_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="docker is not installed"):
        engine.docker("version")


def test_images_are_those_of_the_compose_files_once(docker: Path) -> None:
    services = {
        "prepare": {"image": "p-server", "build": {}},
        "redis": {"image": "valkey/valkey:9"},
        "server": {"image": "p-server", "build": {}},
    }
    (docker / "says").write_text(json.dumps({"services": services}))
    assert engine.images() == (Image("redis", "valkey/valkey:9", False), Image("server", "p-server", True))
    assert (docker / "files").read_text().strip() == "docker-compose.yml:docker-compose.build.yml"


@pytest.mark.parametrize(("way", "files"), [("official", "docker-compose.yml"), ("", engine.COMPOSE_FILES["built"])])
def test_which_compose_files(way: str, files: str) -> None:
    assert engine.compose_environment({"images": way, "HOME": "/"}) == {
        "images": way,
        "HOME": "/",
        "COMPOSE_FILE": files,
    }


def test_another_way_is_refused() -> None:
    with pytest.raises(StackError, match=r"images is 'mine': it can be built or official\."):
        engine.compose_environment({"images": "mine"})


def test_images_that_the_engine_lacks_are_named(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "images", lambda: (Image("redis", "p-redis", True), Image("feast", "p-feast", True)))
    (docker / "complains").write_text("Error response from daemon: no such image: p: No such image: p\n")
    with pytest.raises(StackError, match="the engine lacks p-redis, p-feast"):
        engine.images_here()


def test_an_engine_that_does_not_answer_is_not_an_image_that_is_missing(docker: Path) -> None:
    (docker / "complains").write_text("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")
    with pytest.raises(StackError, match="docker image: Cannot connect to the Docker daemon"):
        engine.is_present(Image("redis", "p-redis", True))
