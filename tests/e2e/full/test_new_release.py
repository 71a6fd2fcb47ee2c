"""A release is published, activated and rolled back while requests come; a bad one never goes live."""

import json
from pathlib import Path

import requests
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from research.measure.shop import make_shop
from tests import readmes
from tests.e2e.pipeline import DEMO_SECONDS, Pipeline, itemids
from tests.made_up_data import supermarket
from tests.services.online.load import load

# A release is published, activated and rolled back while requests come; a bad one never goes live.

PROFILE = (Columns.GENDER, Columns.AGE, Columns.OCCUPATION)


def test_a_new_release_goes_live_without_a_failed_request(pipeline: Pipeline) -> None:
    folder = pipeline.settings.artifacts_dir
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
            # by name, before it is live
            assert pipeline.recommend(1, release=release).json()["release"] == release
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
    folder = pipeline.settings.artifacts_dir
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
    # the steps before it went well
    assert "each value read back equal to its source" in done.stdout, done.stdout
    assert (
        f"CheckError: offline and online disagree by more than 1e-05: column '{column}', user "
        in done.stdout
    )
    assert "Traceback" not in done.stdout, done.stdout
    after = pipeline.recommend(1).json()
    assert (after["release"], itemids(after)) == (live["release"], itemids(live))


def evaluated_recipe(pipeline: Pipeline) -> str:
    done = pipeline.run("make", "evaluate")
    assert done.returncode == 0, done.stdout
    written = pipeline.settings.offline_dir / "evaluation" / "evaluation.json"
    recipe: str = json.loads(written.read_bytes())["recipe"]
    return recipe


def test_the_steps_by_hand(pipeline: Pipeline) -> None:
    """Each script in its own folder, for the other recipe. The artifacts of each recipe stay: going back is free."""
    before = pipeline.recommend(1).json()["release"]
    shown = [
        command.text
        for command in readmes.commands("docs/getting-started.md")
        if command.run_by == "test_the_steps_by_hand"
    ]
    done = pipeline.run(
        "bash", "-euo", "pipefail", "-c", "\n".join(shown), seconds=DEMO_SECONDS
    )
    assert done.returncode == 0, done.stdout
    pipeline.wait_while(before)
    assert f"release {pipeline.recommend(1).json()['release']} |" in done.stdout
    assert evaluated_recipe(pipeline) == "source"
    pipeline.activate(before)
    assert evaluated_recipe(pipeline) == "default"
    compared = pipeline.run("make", "evaluate", "against=source")
    assert compared.returncode == 0, compared.stdout
    diagnosed = pipeline.run("make", "doctor")
    assert diagnosed.returncode == 0, diagnosed.stdout


# Own data go live in the demo's stack: a shop with types of events and ids that are strings; a supermarket's log.


def test_a_shop_with_types_of_events_is_served(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    data = make_shop(0, users=200, items=120, visits=8).write(tmp_path / "shop")
    with pipeline.with_release(RECSYS_DATA=str(data)) as sold:
        folder = sold.settings.artifacts_dir
        ids = read_own_ids(folder)
        bought = artifacts.USER_SEEN.read(folder).set_index("userid")["seen"]
        for number in bought.index[:20]:
            answer = sold.recommend(ids.users[number], explain="recall").json()
            assert answer["userid"] == ids.users[number]
            shown = itemids(answer)
            assert len(set(shown)) == 50
            assert set(shown) <= set(answer["recall"]["fused"])
            assert set(shown) <= set(ids.items.values())
            assert not set(shown) & {ids.items[item] for item in bought[number]}

        def shown_by(**objectives: float) -> list[str]:
            answer = sold.recommend("u1", 100, objectives=objectives)
            assert answer.status_code == 200, answer.text
            return itemids(answer.json())

        def send(kind: str) -> requests.Response:
            event = {"eventid": kind, "userid": "u1", "itemid": best, "type": kind}
            url = f"{sold.settings.server.url}/ml/event"
            return requests.post(url, json=event, timeout=30)

        of_purchases = shown_by(buy=1)
        assert of_purchases != shown_by(view=1)
        best = of_purchases[0]
        assert send("cart").status_code == 200
        assert best in shown_by(buy=1)
        assert send("buy").status_code == 200
        assert best not in shown_by(buy=1)
        refused = send("steal")
        assert refused.status_code == 400
        assert "cart" in refused.json()["error"]["message"]
        unknown = sold.recommend("u1", objectives={"steal": 1})
        assert unknown.status_code == 400


def test_habits_are_recommended_again(pipeline: Pipeline, tmp_path: Path) -> None:
    with pipeline.with_release(
        RECSYS_DATA=str(supermarket(tmp_path / "market"))
    ) as market:
        folder = market.settings.artifacts_dir
        ids, states = read_own_ids(folder), artifacts.USER_STATE.read(folder)
        for number, items in zip(
            states["userid"][10:20], states["items"][10:20], strict=True
        ):
            answer = market.recommend(ids.users[number], explain="recall").json()
            had = {ids.items[item] for item in items.tolist()}
            assert set(answer["recall"]["own"]) == had
            shown = [item["itemid"] for item in answer["item_list"]]
            assert len(had & set(shown[:10])) >= 5
            assert "subclass" in answer["item_list"][0]


# An experiment as somebody runs it: a release against itself, over the demo's stack.

USERS = range(1, 41)


def test_one_is_started_reported_and_stopped(pipeline: Pipeline) -> None:
    def make(*arguments: str, fails: bool = False) -> str:
        done = pipeline.run("make", *arguments)
        assert (done.returncode != 0) == fails, done.stdout
        return " ".join(done.stdout.split())  # a narrow terminal's lines end anywhere

    arms = "arms=control=live same=live"
    assert "needs a published release" in make(
        "experiment-start", "name=trial", "arms=a=live b=ffffffffffff", fails=True
    )
    assert "trial" in make("experiment-start", "name=trial", arms, "horizon=3600")
    assert "A trial runs already, trial" in make(
        "experiment-start", "name=another", arms, fails=True
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
            assert f"{len(USERS)} more users are still watched" in make(
                "experiment", "name=trial"
            )
    make("experiment-share", "name=trial", "share=0.5")
    make("experiment-stop", "name=trial")
    assert "is stopped" in make("experiment-stop", "name=trial", fails=True)
    assert "trial" in make("experiments")
