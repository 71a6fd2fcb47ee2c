"""How big the images are, how long the containers take to be healthy, what memory they take.

The stack has to be up, with a release live. Each container is started anew for it, one after the other. A health check
asks every few seconds, so a start is known as exactly as that. Build times are not among the figures.
Reads   the images and the running containers, from Docker
Writes  pic/figures/containers.json
Run     make docker-figures, or python -m research.containers
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from data_exchange_center import artifacts
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.machine import machine
from data_exchange_center.settings import Settings, load_settings
from online.stack.images import engine
from online.stack.images.engine import Image, docker
from online.stack.service import StackError, run
from research.bench.asking import ready

OUTPUT: Final = FIGURES / "containers.json"
HEALTHY_WITHIN_S: Final = 180.0
REST_S: Final = 10.0  # after the last start, before memory is read
UNITS: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

Layer = tuple[str, str]  # when and by what it was made


def sizes(histories: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, dict[str, float]]:
    """MB of each image, and of that what another one has too: the layers from the first on that both have.

    ``histories``: what `docker history` says of each, the newest layer first.
    """
    layers = {
        name: [((line["CreatedAt"], line["CreatedBy"]), int(line["Size"])) for line in reversed(history)]
        for name, history in histories.items()
    }
    prefixes = {name: list(accumulate(((layer,) for layer, _ in of), tuple.__add__)) for name, of in layers.items()}
    owners = Counter(prefix for of in prefixes.values() for prefix in of)
    found = {}
    for name, of in layers.items():
        every = sum(size for _, size in of)
        shared = sum(size for (_, size), prefix in zip(of, prefixes[name], strict=True) if owners[prefix] > 1)
        found[name] = {"size_mb": _mb(every), "shared_mb": _mb(shared), "unique_mb": _mb(every - shared)}
    return found


def _mb(size: float) -> float:
    return round(size / 1e6, 1)


def seconds_to_healthy(state: Mapping[str, Any]) -> float | None:
    """From the start to the end of the first check that passed; None before that.

    The log outlives a restart, and has no more than the last five checks: ask within five checks of the start.
    """
    started = datetime.fromisoformat(state["StartedAt"])
    passed = (datetime.fromisoformat(check["End"]) for check in state["Health"]["Log"] or [] if check["ExitCode"] == 0)
    first = next((end for end in passed if end > started), None)
    return None if first is None else round((first - started).total_seconds(), 1)


def memory_mb(usage: str) -> float:
    """Of `12.5MiB / 23.5GiB`, the first, in MB."""
    match = re.match(r"([\d.]+)([KMG]?i?B)", usage)
    if match is None or match[2] not in UNITS:
        raise StackError(f"docker stats says {usage!r} of a container's memory, which is no size.")
    return _mb(float(match[1]) * UNITS[match[2]])


def state(container: str) -> dict[str, Any]:
    (said,) = json.loads(docker("inspect", container))
    found: dict[str, Any] = said["State"]
    return found


def restarted(container: str, service: str, pause: Callable[[float], None] = time.sleep) -> float:
    """Start a container anew; seconds until it is healthy. Raises StackError where it does not become so."""
    docker("restart", container)
    until = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < until:
        took = seconds_to_healthy(state(container))
        if took is not None:
            return took
        pause(0.5)
    raise StackError(f"{service} is not healthy {HEALTHY_WITHIN_S:.0f} s after its start: make docker-logs says why.")


def running(images: Iterable[Image]) -> dict[str, str]:
    """Service -> container. Raises StackError where the stack is not up."""
    found = {image.service: docker("compose", "ps", "--quiet", image.service).strip() for image in images}
    down = [service for service, container in found.items() if not container]
    if down:
        raise StackError(f"not running: {', '.join(down)}; make docker-up starts them.")
    return found


def served(settings: Settings) -> dict[str, Any]:
    """What the containers hold. Raises StackError where that is nothing: they would be smaller than in use."""
    said = ready(settings.server.url)
    if not said["release"]:
        raise StackError("no release is live in the containers: make docker-demo loads one.")
    about = {"release": said["release"], "recipe": said["recipe"]}
    return {**about, "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"]}


def measured(settings: Settings) -> dict[str, Any]:
    """What is written. Raises StackError."""
    images = engine.images_here()
    containers = running(image for image in images if image.service != "steps")  # which run a command and end
    holds = served(settings)
    history = ("history", "--no-trunc", "--human=false", "--format", "{{json .}}")
    lines = {image.service: docker(*history, image.name).splitlines() for image in images}
    size = sizes({service: [json.loads(line) for line in said] for service, said in lines.items()})
    started = {service: restarted(container, service) for service, container in containers.items()}
    time.sleep(REST_S)
    stats = ("stats", "--no-stream", "--format", "{{.MemUsage}}")
    rows = [
        {
            "service": image.service,
            "built": image.built,
            **size[image.service],
            "seconds_to_healthy": started.get(image.service),
            "memory_mb": memory_mb(docker(*stats, containers[image.service])) if image.service in containers else None,
        }
        for image in images
    ]
    return {
        "command": "make docker-figures",
        **holds,
        "machine": machine(),
        "engine": docker("version", "--format", "{{.Server.Version}}").strip(),
        "containers": rows,
    }


def main(output: Path) -> None:
    figures = measured(load_settings())
    write_json(output, figures)
    for row in figures["containers"]:
        print(json.dumps(row))  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    run(lambda: main(parser.parse_args().output), interrupted="interrupted")
