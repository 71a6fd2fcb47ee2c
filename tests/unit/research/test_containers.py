"""Sizes, starts and memory out of what Docker prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from online.stack.images import engine
from online.stack.images.engine import Image
from online.stack.service import StackError
from research import containers as figures


def layer(made: str, by: str, size: int) -> dict[str, str]:
    return {"CreatedAt": made, "CreatedBy": by, "Size": str(size)}


BASE = [layer("1", "", 200_000_000), layer("2", "WORKDIR /app", 0)]
SERVER, STEPS = layer("3", "RUN install server", 400_000_000), layer("4", "RUN install steps", 5_000_000_000)


def newest_first(*layers: dict[str, str]) -> list[dict[str, str]]:
    return list(reversed(layers))


def test_shared_are_the_layers_that_another_image_has_too() -> None:
    copied = layer("9", "COPY healthy", 1_000_000)  # the same command on top of other layers is another layer
    found = figures.sizes(
        {
            "server": newest_first(*BASE, SERVER, copied),
            "steps": newest_first(*BASE, STEPS, copied),
            "triton": newest_first(layer("7", "ADD ubuntu", 80_000_000)),
        }
    )
    assert found == {
        "server": {"size_mb": 601.0, "shared_mb": 200.0, "unique_mb": 401.0},
        "steps": {"size_mb": 5201.0, "shared_mb": 200.0, "unique_mb": 5001.0},
        "triton": {"size_mb": 80.0, "shared_mb": 0.0, "unique_mb": 80.0},
    }


def state(*checks: tuple[str, int]) -> dict[str, Any]:
    log = [{"End": f"2026-11-25T18:{end}Z", "ExitCode": code} for end, code in checks]
    return {"StartedAt": "2026-11-25T18:01:25.543419403Z", "Health": {"Log": log or None}}


@pytest.mark.parametrize(
    ("checks", "seconds"),
    [
        ([], None),
        ([("01:30.6", 1)], None),
        ([("01:30.6", 1), ("01:35.8", 0), ("01:41.0", 0)], 10.3),
        ([("00:59.0", 0)], None),  # before the restart
        ([("00:59.0", 0), ("01:31.0", 0)], 5.5),
    ],
)
def test_seconds_to_the_first_check_that_passed(checks: list[tuple[str, int]], seconds: float | None) -> None:
    assert figures.seconds_to_healthy(state(*checks)) == seconds


def test_a_container_is_started_anew_and_watched_until_it_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [state(), state(("01:30.6", 1)), state(("01:30.6", 1), ("01:35.8", 0))]
    asked: list[str] = []

    def docker(*words: str) -> str:
        asked.append(words[0])
        return "" if words[0] == "restart" else json.dumps([{"State": told.pop(0)}])

    monkeypatch.setattr(figures, "docker", docker)
    pauses: list[float] = []
    assert figures.restarted("abc", "redis", pauses.append) == 10.3
    assert asked == ["restart", "inspect", "inspect", "inspect"]
    assert len(pauses) == 2


def test_a_container_that_does_not_become_healthy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "docker", lambda *words: json.dumps([{"State": state()}]))
    monkeypatch.setattr(figures, "HEALTHY_WITHIN_S", 0.01)
    with pytest.raises(StackError, match=r"redis is not healthy 0 s after its start: make docker-logs says why\."):
        figures.restarted("abc", "redis", lambda seconds: None)


@pytest.mark.parametrize(("usage", "mb"), [("11.85MiB / 23.54GiB", 12.4), ("1.5GiB / 2GiB", 1610.6), ("0B / 0B", 0.0)])
def test_memory(usage: str, mb: float) -> None:
    assert figures.memory_mb(usage) == mb


def test_memory_that_is_no_size_is_told() -> None:
    with pytest.raises(StackError, match="docker stats says '--'"):
        figures.memory_mb("--")


def test_a_stack_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "docker", lambda *words: "abc\n" if words[-1] == "redis" else "")
    with pytest.raises(StackError, match=r"not running: feast; make docker-up starts them\."):
        figures.running([Image("redis", "p-redis", True), Image("feast", "p-feast", True)])


def test_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row an image; the steps' has no container that stays."""
    answers = {
        "compose": "abc\n",
        "history": json.dumps(layer("1", "", 3_000_000)),
        "stats": "2MiB / 2GiB\n",
        "version": "20.10.24\n",
    }
    monkeypatch.setattr(
        engine, "images_here", lambda: (Image("redis", "p-redis", True), Image("steps", "p-steps", True))
    )
    monkeypatch.setattr(figures, "docker", lambda *words: answers[words[0]])
    monkeypatch.setattr(figures, "restarted", lambda container, service: 5.5)
    monkeypatch.setattr(figures, "REST_S", 0.0)
    holds = {"release": "r1", "recipe": "default", "dataset": "ml-1m"}
    monkeypatch.setattr(figures, "served", lambda settings: holds)
    written = figures.measured(Settings())
    size = {"size_mb": 3.0, "shared_mb": 3.0, "unique_mb": 0.0}
    assert written["containers"] == [
        {"service": "redis", "built": True, **size, "seconds_to_healthy": 5.5, "memory_mb": 2.1},
        {"service": "steps", "built": True, **size, "seconds_to_healthy": None, "memory_mb": None},
    ]
    assert (written["command"], written["engine"]) == ("make docker-figures", "20.10.24")
    assert holds.items() <= written.items()


def test_containers_without_a_release_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "ready", lambda url: {"release": None, "recipe": None})
    with pytest.raises(StackError, match="no release is live in the containers: make docker-demo loads one"):
        figures.served(Settings())


def test_what_the_containers_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(figures, "ready", lambda url: {"release": "r1", "recipe": "default", "services": {}})
    artifacts.DATASET.write(tmp_path, {"name": "ml-1m"})
    assert figures.served(Settings(exchange_dir=tmp_path)) == {"release": "r1", "recipe": "default", "dataset": "ml-1m"}
