"""Sizes, starts and memory out of what Docker prints."""

from __future__ import annotations

from typing import Any

import pytest

from research import containers


def layer(made: str, by: str, size: int) -> dict[str, str]:
    return {"CreatedAt": made, "CreatedBy": by, "Size": str(size)}


def test_shared_are_the_layers_that_another_image_has_too() -> None:
    base = [layer("2", "WORKDIR /app", 0), layer("1", "", 200_000_000)]  # newest first
    copied = layer("9", "COPY healthy", 1_000_000)  # the same command on top of other layers is another layer
    found = containers.sizes(
        {
            "server": [copied, layer("3", "RUN install server", 400_000_000), *base],
            "steps": [copied, layer("4", "RUN install steps", 5_000_000_000), *base],
        }
    )
    assert found == {
        "server": {"size_mb": 601.0, "shared_mb": 200.0},
        "steps": {"size_mb": 5201.0, "shared_mb": 200.0},
    }


@pytest.mark.parametrize(
    ("checks", "seconds"),
    [
        ([], None),
        ([("01:30.6", 1)], None),
        ([("01:30.6", 1), ("01:35.8", 0), ("01:41.0", 0)], 10.3),
        ([("00:59.0", 0), ("01:31.0", 0)], 5.5),  # the first is of before the restart
    ],
)
def test_seconds_to_the_first_check_that_passed(checks: list[tuple[str, int]], seconds: float | None) -> None:
    log = [{"End": f"2026-11-25T18:{end}Z", "ExitCode": code} for end, code in checks]
    state: dict[str, Any] = {"StartedAt": "2026-11-25T18:01:25.543419403Z", "Health": {"Log": log or None}}
    assert containers.seconds_to_healthy(state) == seconds


@pytest.mark.parametrize(("usage", "mb"), [("11.85MiB / 23.54GiB", 12.4), ("1.5GiB / 2GiB", 1610.6), ("0B / 0B", 0.0)])
def test_memory(usage: str, mb: float) -> None:
    assert containers.memory_mb(usage) == mb
