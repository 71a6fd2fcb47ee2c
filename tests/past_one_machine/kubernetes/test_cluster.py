"""A Kubernetes cluster of one node, the stack on it, and clients that use it without a pause."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
import redis
import requests
import yaml
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center.events import Event
from extras.keys import store as keys
from stack.service import ROOT
from tests.e2e.pipeline import ml_100k
from tests.needs import not_tested

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


# The stack on a real cluster of one node, under load: rolled out, killed pod by pod, scaled.


PASSWORD = "a-password"
SETTLE_S = 5.0
PODS = ("redis-0", "elasticsearch-0", "triton-0", "app=feast")

pytestmark = pytest.mark.skipif(
    "CTR" not in os.environ,
    reason=not_tested("a Kubernetes cluster", "make test-kubernetes"),
)


class Served(NamedTuple):
    """The server's address, and a key for it."""

    url: str
    key: str


def empty(folder: Path) -> None:
    """Empty the node's folder of the volumes, which pods of several users write to."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("exchange", "redis", "elasticsearch"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o777)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = Path("/var/tmp/recsys-cluster-volumes")
    empty(folder)
    yield folder
    shutil.rmtree(folder)


def make_namespace(key_file: Path) -> None:
    run("kubectl", "apply", "--server-side", "-f", str(FOLDER / "base/namespace.yaml"))
    kubectl(
        *("create", "secret", "generic", "recsys"),
        f"--from-file=api_keys={key_file}",
        f"--from-literal=redis_password={PASSWORD}",
    )


def delete_namespace() -> None:
    run("kubectl", "delete", "namespace", "recsys", "--wait", "--timeout", "300s")
    run("kubectl", "delete", "persistentvolume", "--all")


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "api_keys"


@pytest.fixture(scope="module")
def key(key_file: Path) -> Iterator[str]:
    """A key of the server, in the Secret of a new namespace."""
    key = keys.add(key_file, "shop", ["read", "events"])
    make_namespace(key_file)
    yield key
    delete_namespace()


def wait_for_job(name: str) -> float:
    """Seconds that a job takes."""
    began = time.monotonic()
    kubectl(
        *("wait", "--for", "condition=complete", f"job/{name}"),
        *("--timeout", "900s"),
        seconds=1_000,
    )
    return time.monotonic() - began


def started(key: str) -> Served:
    """The server, once all pods are ready."""
    for name in ("deployment/server", "deployment/feast", "statefulset/triton"):
        kubectl("rollout", "status", name, "--timeout", "300s")
    return Served(address_of("server", 5000), key)


@pytest.fixture(scope="module")
def served(folder: Path, key: str) -> Served:
    """The overlay of one node, applied, with its first release trained and live."""
    import_images()
    data = ml_100k(folder / "exchange" / "ml-100k")
    for path in (data, *data.iterdir()):
        path.chmod(0o755)
    apply(on_folders(rendered("overlays/one-node"), folder, data.name))
    print(f"first release after {wait_for_job('first-release'):.0f} s")
    return started(key)


def ask(served: Served, **more: object) -> requests.Response:
    return requests.post(
        f"{served.url}/ml/rec",
        json={"userid": 1, **more},
        headers={"Authorization": f"Bearer {served.key}"},
        timeout=30,
    )


def until_whole(served: Served) -> None:
    """Wait until an answer has all services."""
    for attempt in Retrying(
        stop=stop_after_delay(180), wait=wait_fixed(0.5), reraise=True
    ):
        with attempt:
            answer = ask(served, strict=True)
            assert answer.status_code == 200, answer.text


def itemids(served: Served, at: int) -> list[int]:
    """The list of a user to whom the clients' events do not belong."""
    answer = ask(served, userid=940, timestamp=at, strict=True).json()
    return [item["itemid"] for item in answer["item_list"]]


def recorded() -> list[str]:
    """The ids of all events in the pod of Redis."""
    host = named("pod", "redis-0")["status"]["podIP"]
    with redis.Redis(host=host, password=PASSWORD) as client:
        logs = list(client.scan_iter("ml:log:*"))
        entries = [fields for log in logs for _, fields in client.xrange(log)]
    return [Event.unpack(fields[b"event"]).eventid for fields in entries]


@pytest.mark.parametrize("overlay", ["base", "overlays/all", "overlays/one-node"])
def test_the_api_server_takes_every_object(key: str, overlay: str) -> None:
    """Without a warning of a deprecated field or of pod security."""
    apply(rendered(overlay), "--dry-run=server", "--force-conflicts")


def test_fifty_films_by_the_address_of_the_service(served: Served) -> None:
    until_whole(served)
    answer = ask(served, strict=True).json()
    assert len(answer["item_list"]) == 50
    assert requests.get(f"{served.url}/ml/info", timeout=30).status_code == 401


def test_no_request_fails_in_a_rolling_update(served: Served) -> None:
    until_whole(served)
    with traffic(*served) as found:
        time.sleep(SETTLE_S)
        kubectl("rollout", "restart", "deployment/server")
        kubectl("rollout", "status", "deployment/server", "--timeout", "300s")
        time.sleep(SETTLE_S)
    print(found)
    assert not found.failed
    assert found.acknowledged <= {*recorded()}


@pytest.mark.parametrize("pod", PODS)
def test_a_killed_pod_loses_no_request(served: Served, pod: str) -> None:
    until_whole(served)
    which = ["--selector", pod] if "=" in pod else [pod]
    with traffic(*served) as found:
        time.sleep(SETTLE_S)
        kubectl("delete", "pod", *which, "--grace-period", "0", "--force")
        time.sleep(SETTLE_S)
        until_whole(served)
        time.sleep(SETTLE_S)
    print(pod, found)
    assert not found.failed
    events = recorded()
    assert found.acknowledged <= {*events}
    assert len(events) == len({*events})


def test_the_server_scales_from_one_to_three_and_back(served: Served) -> None:
    until_whole(served)
    with traffic(*served) as found:
        for replicas in ("3", "1"):
            kubectl("scale", "deployment/server", "--replicas", replicas)
            kubectl("rollout", "status", "deployment/server", "--timeout", "300s")
            time.sleep(2 * SETTLE_S)
    print(found)
    assert not found.failed
    assert found.acknowledged <= {*recorded()}


def test_a_backup_is_restored_into_empty_volumes(
    served: Served, folder: Path, key_file: Path, tmp_path: Path
) -> None:
    """The backup's job runs under load. It is the last test: the stack is another one afterwards."""
    until_whole(served)
    at = int(time.time())
    before = itemids(served, at)
    with traffic(*served) as found:
        time.sleep(SETTLE_S)
        acknowledged = {*found.acknowledged}
        kubectl("create", "job", "backup", "--from", "cronjob/nightly-backup")
        seconds = wait_for_job("backup")
    print(f"backup after {seconds:.0f} s;", found)
    assert not found.failed
    (backup,) = (folder / "exchange/backups").glob("*.tar.gz")
    assert backup.stat().st_mode & 0o777 == 0o600
    kept = shutil.move(backup, tmp_path)

    delete_namespace()
    empty(folder)
    place = folder / "exchange/backups/restore.tar.gz"
    place.parent.mkdir()
    shutil.move(kept, place)
    for path in (place.parent, place):
        os.chown(path, 1000, 1000)
    make_namespace(key_file)
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    resources = {
        "resources": [os.path.relpath(FOLDER / "overlays/one-node", overlay)],
        "components": [os.path.relpath(FOLDER / "components/restore", overlay)],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(resources))
    apply(on_folders(run("kubectl", "kustomize", str(overlay)), folder, "none"))
    print(f"restored after {wait_for_job('first-release'):.0f} s")
    restored = started(served.key)
    until_whole(restored)
    events = recorded()
    assert acknowledged <= {*events}
    assert len(events) == len({*events})
    assert itemids(restored, at) == before
