"""A release is published, activated and rolled back while requests come; a bad one never goes live."""

from __future__ import annotations

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import release_of_artifacts
from tests.e2e.pipeline import Pipeline, itemids
from tests.services.online.load import load

PROFILE = (Columns.GENDER, Columns.AGE, Columns.OCCUPATION)


def test_a_new_release_goes_live_without_a_failed_request(pipeline: Pipeline) -> None:
    folder = pipeline.settings.exchange_dir
    first = pipeline.recommend(1).json()
    preferences = artifacts.USER_PREFERENCES.read(folder)
    try:
        artifacts.USER_PREFERENCES.write(
            folder, preferences.assign(genres=[[] for _ in preferences.index])
        )
        release = release_of_artifacts(pipeline.settings).release
        assert release != first["release"]
        bodies = [
            {"userid": userid, "size": 10, "strict": True} for userid in range(1, 51)
        ]
        with load(pipeline.settings.server.url, bodies, clients=1) as requested:
            done = pipeline.run("make", "publish", seconds=900)
            assert done.returncode == 0, done.stdout
            pipeline.wait_until_loaded(release)
            assert (
                pipeline.recommend(1, release=release).json()["release"] == release
            )  # by name, before it is live
            assert pipeline.recommend(1).json()["release"] == first["release"]
            assert {answer.body["release"] for answer in requested.answers} == {
                first["release"]
            }
            second = pipeline.activate(release)
            requested.wait(
                lambda answer: answer.body.get("release") == second["release"], 120
            )
            pipeline.activate(first["release"])
            pipeline.activate(release)
        assert {answer.status for answer in requested.answers} == {200}
        assert {answer.body["release"] for answer in requested.answers} == {
            first["release"],
            second["release"],
        }
    finally:
        artifacts.USER_PREFERENCES.write(folder, preferences)
        back = pipeline.run("make", "sync", seconds=900)
    assert back.returncode == 0, back.stdout
    assert itemids(pipeline.wait_for_release(first["release"])) == itemids(first)


def test_a_release_that_fails_its_check_never_goes_live(pipeline: Pipeline) -> None:
    """The features are wrong in the artifacts already, so the stores agree with them: a recount finds it."""
    folder = pipeline.settings.exchange_dir
    live = pipeline.recommend(1).json()
    features = artifacts.USER_FEATURES.read(folder)
    column = next(
        name for name in features.columns if name not in (*PROFILE, Columns.USER)
    )  # a statistic
    try:
        artifacts.USER_FEATURES.write(
            folder, features.assign(**{column: features[column] + 1})
        )
        done = pipeline.run("make", "sync")
    finally:
        artifacts.USER_FEATURES.write(folder, features)
    assert done.returncode != 0
    assert "each value read back equal to its source" in done.stdout, (
        done.stdout
    )  # the steps before it went well
    assert (
        f"CheckError: offline and online disagree by more than 1e-05: column '{column}', user "
        in done.stdout
    )
    assert "Traceback" not in done.stdout, done.stdout
    after = pipeline.recommend(1).json()
    assert (after["release"], itemids(after)) == (live["release"], itemids(live))
