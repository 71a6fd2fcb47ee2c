"""An experiment as somebody runs it: a release against itself, over the demo's stack."""

from __future__ import annotations

import requests
from tenacity import Retrying, stop_after_delay, wait_fixed

from tests.e2e.pipeline import Pipeline

USERS = range(1, 41)


def test_one_is_started_reported_and_stopped(pipeline: Pipeline) -> None:
    def make(*arguments: str, fails: bool = False) -> str:
        done = pipeline.run("make", *arguments)
        assert (done.returncode != 0) == fails, done.stdout
        return " ".join(done.stdout.split())  # a narrow terminal's lines end anywhere

    arms = "arms=control=live same=live"
    assert "which is not published" in make(
        "experiment-start", "name=trial", "arms=a=live b=ffffffffffff", fails=True
    )
    assert "trial" in make("experiment-start", "name=trial", arms, "horizon=3600")
    assert "There is an experiment called 'trial'" in make(
        "experiment-start", "name=trial", arms, fails=True
    )
    url = f"{pipeline.settings.server.url}/ml/rec"
    for attempt in Retrying(
        stop=stop_after_delay(60), wait=wait_fixed(0.1), reraise=True
    ):
        with attempt:  # both workers have heard of it
            answers = [
                requests.post(url, json={"userid": userid}, timeout=30).json()
                for userid in USERS
            ]
            assert all("experiments" in answer for answer in answers)
    for attempt in Retrying(
        stop=stop_after_delay(30), wait=wait_fixed(1), reraise=True
    ):
        with attempt:
            assert f"{len(USERS)} who are still watched" in make(
                "experiment", "name=trial"
            )
    make("experiment-share", "name=trial", "share=0.5")
    make("experiment-stop", "name=trial")
    assert "is stopped" in make("experiment-stop", "name=trial", fails=True)
    assert "trial" in make("experiments")
