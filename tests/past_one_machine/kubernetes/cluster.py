"""A Kubernetes cluster of one node, the stack on it, and clients that use it without a pause."""

import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import requests
import yaml

from stack.service import ROOT

FOLDER: Final = ROOT / "past_one_machine/kubernetes"
IMAGES: Final = ("server", "steps", "redis", "elasticsearch", "feast", "triton")
TAG: Final = "1.0.0"
NAMESPACE: Final = "recsys"
CLIENTS: Final = 4


def run(*command: str, stdin: str | None = None, seconds: float = 600) -> str:
    """Run a command. Returns its output; fails with what it said."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{done.stdout}"
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None, seconds: float = 600) -> str:
    command = ("kubectl", "--namespace", NAMESPACE, *arguments)
    return run(*command, stdin=stdin, seconds=seconds)


def apply(objects: str, *options: str) -> None:
    """Apply objects on the server's side. A warning of the server is an error."""
    applied = ("apply", "--server-side", "--warnings-as-errors", *options)
    kubectl(*applied, "-f", "-", stdin=objects)


def rendered(folder: str) -> str:
    return run("kubectl", "kustomize", str(FOLDER / folder))


def import_images() -> None:
    """Bring the images that `stack/docker.sh build` has made onto the node, as the manifests name them."""
    project = os.environ["COMPOSE_PROJECT_NAME"]
    for name in IMAGES:
        image = f"recsys-{name}:{TAG}"
        run("docker", "tag", f"{project}-{name}", image)
        run("sh", "-c", f"docker save {image} | {os.environ['CTR']} images import -")


def named(kind: str, name: str) -> Any:
    return json.loads(kubectl("get", kind, name, "--output", "json"))


def address_of(service: str, port: int) -> str:
    return f"http://{named('service', service)['spec']['clusterIP']}:{port}"


@dataclass
class Traffic:
    """What the clients were answered."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    degraded: Counter[str] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)  # eventids
    refused: int = 0  # events, which their sender sends again

    def __str__(self) -> str:
        p50, p99 = np.quantile(self.seconds, [0.5, 0.99]) * 1e3
        return (
            f"{len(self.seconds)} requests, {len(self.failed)} failed, degraded by {dict(self.degraded)}, "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms; {len(self.acknowledged)} events acknowledged, {self.refused} refused"
        )


@contextmanager
def traffic(url: str, key: str) -> Iterator[Traffic]:
    """Clients that ask for recommendations, and one that sends events, until the block ends."""
    found, stop = Traffic(), threading.Event()
    headers = {"Authorization": f"Bearer {key}"}

    def ask(client: int) -> None:
        while not stop.wait(0.05):
            body = {"userid": 1 + len(found.seconds) % 900, "budget_ms": 2_000}
            begun = time.monotonic()
            try:
                answer = requests.post(
                    f"{url}/ml/rec", json=body, headers=headers, timeout=30
                )
            except requests.RequestException as error:
                found.failed.append(repr(error))
                continue
            found.seconds.append(time.monotonic() - begun)
            if not answer.ok or len(answer.json()["item_list"]) != 50:
                found.failed.append(answer.text[:300])
            else:
                found.degraded.update(
                    {each["service"] for each in answer.json().get("degraded", ())}
                )

    def send() -> None:
        for number in range(1_000_000):
            eventid = f"event-{time.time_ns()}"
            event = {"userid": 1 + number % 900, "itemid": 50, "type": "view"}
            while eventid not in found.acknowledged:
                if stop.wait(0.02):
                    return
                try:
                    answer = requests.post(
                        f"{url}/ml/event",
                        json={"eventid": eventid, **event},
                        headers=headers,
                        timeout=30,
                    )
                except requests.RequestException as error:
                    found.failed.append(repr(error))
                    continue
                if answer.ok:
                    found.acknowledged.add(eventid)
                else:
                    found.refused += 1

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(CLIENTS)]
    threads.append(threading.Thread(target=send))
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def on_folders(objects: str, folder: Path, data: str) -> str:
    """The objects with their volumes and their data set in a folder of the test."""
    moved = objects.replace("/var/lib/recsys", str(folder))
    moved = moved.replace("/exchange/ml-1m.zip", f"/exchange/{data}")
    return "---\n".join(
        yaml.safe_dump(each)
        for each in yaml.safe_load_all(moved)
        if each["kind"] != "Ingress"  # no controller of one here
    )
