"""Measure the images' sizes, and the containers' time to healthy and memory.

The stack has to be up, with a release live. Each container is restarted, one after the other. A health check runs
every few seconds, so starts are measured to that precision.
Reads   the images and the running containers, from Docker
Writes  pic/figures/containers.json, which docs/results/costs.md shows
Run     make docker-figures, or python -m research.containers
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

import requests
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from research.figure_files import FIGURES
from research.figures import costs
from research.reports import publish

COMPOSE_FILES: Final = {"built": "docker-compose.yml", "official": "docker-compose.yml:docker-compose.official.yml"}
HEALTHY_WITHIN_S: Final = 180.0
UNITS: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def docker(*words: str) -> str:
    """Run a docker command on the images that ``images`` names (built or official); return what it prints."""
    env = {**os.environ, "COMPOSE_FILE": COMPOSE_FILES[os.getenv("images") or "built"]}  # noqa: SIM112
    return subprocess.run(["docker", *words], stdout=subprocess.PIPE, text=True, check=True, env=env).stdout.strip()


def sizes(histories: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, dict[str, float]]:
    """Compute each image's size in MB, and how much of it are layers that another image has too.

    Args:
        histories: `docker history` of each image, the newest layer first.
    """
    layers = {
        name: [((line["CreatedAt"], line["CreatedBy"]), int(line["Size"])) for line in reversed(history)]
        for name, history in histories.items()
    }
    # A layer is shared where all layers below it are: count the prefixes.
    prefixes = {name: list(accumulate(((key,) for key, _ in of), tuple.__add__)) for name, of in layers.items()}
    owners = Counter(prefix for of in prefixes.values() for prefix in of)
    found = {}
    for name, of in layers.items():
        total = sum(size for _, size in of)
        shared = sum(size for (_, size), prefix in zip(of, prefixes[name], strict=True) if owners[prefix] > 1)
        found[name] = {"size_mb": round(total / 1e6, 1), "shared_mb": round(shared / 1e6, 1)}
    return found


def seconds_to_healthy(state: Mapping[str, Any]) -> float | None:
    """Seconds from a container's start to its first health check that passed; None before that.

    Docker keeps the last five checks, and those of before a restart.
    """
    started = datetime.fromisoformat(state["StartedAt"])
    passed = (datetime.fromisoformat(check["End"]) for check in state["Health"]["Log"] or [] if check["ExitCode"] == 0)
    first = next((end for end in passed if end > started), None)
    return None if first is None else round((first - started).total_seconds(), 1)


def memory_mb(usage: str) -> float:
    """Read the first size of `12.5MiB / 23.5GiB`, in MB."""
    number, unit = re.findall(r"^([\d.]+)([A-Za-z]+)", usage)[0]
    return round(float(number) * UNITS[unit] / 1e6, 1)


def restart(container: str) -> float:
    """Restart a container; seconds until it is healthy. Raises RetryError where it does not become so."""
    docker("restart", container)
    retrying = Retrying(
        retry=retry_if_result(lambda seconds: seconds is None),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(HEALTHY_WITHIN_S),
    )
    seconds = retrying(lambda: seconds_to_healthy(json.loads(docker("inspect", container))[0]["State"]))
    assert seconds is not None  # noqa: S101
    return seconds


def main(settings: Settings) -> None:
    ready = requests.get(f"{settings.server.url}/readyz", timeout=10).json()
    if not ready["release"]:
        sys.exit("No release is live in the containers: make docker-demo loads one.")
    services = json.loads(docker("compose", "--profile", "steps", "config", "--format", "json"))["services"]
    services.pop("prepare")  # has the server's image
    history = ("history", "--no-trunc", "--human=false", "--format", "{{json .}}")
    size = sizes(
        {
            name: [json.loads(line) for line in docker(*history, of["image"]).splitlines()]
            for name, of in services.items()
        }
    )
    containers = {name: docker("compose", "ps", "--quiet", name) for name in services if name != "steps"}
    if down := [name for name, container in containers.items() if not container]:
        sys.exit(f"Not running: {', '.join(down)}; make docker-up starts them.")
    started = {name: restart(container) for name, container in containers.items()}
    memory = {
        name: memory_mb(docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container))
        for name, container in containers.items()
    }
    rows = [
        {
            "service": name,
            "built": "build" in services[name],
            **size[name],
            "seconds_to_healthy": started.get(name),
            "memory_mb": memory.get(name),
        }
        for name in sorted(services)
    ]
    figures = {
        "command": "make docker-figures",
        "release": ready["release"],
        "recipe": ready["recipe"],
        "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
        "engine": docker("version", "--format", "{{.Server.Version}}"),
        "containers": rows,
    }
    publish(FIGURES / "containers.json", figures, costs.containers)


if __name__ == "__main__":
    run(main, about=__doc__)
