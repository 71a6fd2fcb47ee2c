""".env with digests: what a registry tells is written, the rest stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from online.stack.images import pin
from online.stack.service import StackError

NEW, OLD = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ENV = f"""\
# Images and tags.
REDIS_IMAGE=valkey/valkey
REDIS_TAG=9.1.4
PYTHON_IMAGE=python
PYTHON_TAG=3.11-slim-bookworm@{OLD}
OTHER=1
"""


def told(reference: str) -> str:
    if reference.startswith("python:"):
        raise pin.NotToldError("manifest unknown")
    return NEW


def test_a_tag_is_pinned_and_what_is_not_told_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_text(ENV)
    assert pin.main(tmp_path / ".env", told) == ["python:3.11-slim-bookworm"]
    assert (tmp_path / ".env").read_text() == ENV.replace("REDIS_TAG=9.1.4", f"REDIS_TAG=9.1.4@{NEW}")
    printed = capsys.readouterr()
    assert printed.out == f"valkey/valkey:9.1.4: {NEW}\n"
    assert "python:3.11-slim-bookworm: not pinned, the registry did not tell: manifest unknown" in printed.err


def test_a_digest_is_renewed_by_its_tag(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV)
    asked: list[str] = []

    def ask(reference: str) -> str:
        asked.append(reference)
        return NEW

    assert pin.main(tmp_path / ".env", ask) == []
    assert asked == ["valkey/valkey:9.1.4", "python:3.11-slim-bookworm"]
    assert f"PYTHON_TAG=3.11-slim-bookworm@{NEW}\n" in (tmp_path / ".env").read_text()
    assert OLD not in (tmp_path / ".env").read_text()


def test_every_image_of_the_repository_can_be_asked_for() -> None:
    images = {"REDIS", "ELASTICSEARCH", "FEAST", "TRITON", "PYTHON", "PROMETHEUS", "GRAFANA"}
    assert set(pin.references(pin.ENV.read_text())) == images


def test_a_tag_without_an_image_is_refused() -> None:
    with pytest.raises(StackError, match=r"\.env has REDIS_TAG and no REDIS_IMAGE"):
        pin.references("REDIS_TAG=1\n")


def test_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pin, "docker", lambda *words: "unix:///nowhere/docker.sock\n")
    with pytest.raises(StackError, match="does not answer at unix:///nowhere"):
        pin.registries()
