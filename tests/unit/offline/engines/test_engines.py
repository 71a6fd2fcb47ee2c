"""Which engine a step gets, and in which environment it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center import artifacts, steps
from data_exchange_center.artifact_kinds import ArtifactError
from data_exchange_center.files import sha256
from data_exchange_center.settings import Settings, SparkSettings
from offline import engines
from offline.engines.in_memory import PandasEngine
from offline.engines.spark import environment
from offline.ingestion import sources
from tests.unit.offline.synthetic import made_up_movielens

ROOT = Path(engines.__file__).parents[2]


def test_every_engine_of_the_settings_is_there() -> None:
    assert set(engines.KINDS) == set(get_args(Settings.model_fields["engine"].annotation))
    with engines.chosen(Settings()) as engine:
        assert isinstance(engine, PandasEngine)


def test_a_step_runs_in_the_environment_of_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[object, ...]] = []
    ran: list[Settings] = []
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(sys, "argv", ["s1_data_split.py"])
    monkeypatch.setattr(environment, "python", lambda _: tmp_path / "python")
    engines.run(ran.append)
    assert (len(ran), started) == (1, [])
    monkeypatch.setenv("RECSYS_ENGINE", "spark")
    engines.run(ran.append)
    assert started == [(tmp_path / "python", [str(tmp_path / "python"), "s1_data_split.py"])]


def test_without_sparks_environment_a_step_says_how_to_get_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "s1_term_recall.py"],
        cwd=ROOT / "offline" / "recall",
        env=os.environ | {"RECSYS_ENGINE": "spark", "RECSYS_SERVICES_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "run `make spark`, or compute with RECSYS_ENGINE=pandas" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("master", ["nonsense", "", "local[", "spark:/host"])
def test_a_master_that_there_is_not_is_a_wrong_setting(master: str) -> None:
    with pytest.raises(ValueError, match="should match pattern"):
        SparkSettings(master=master)


@pytest.mark.parametrize("master", ["local[2]", "local[*]", "local-cluster[2,1,1024]", "spark://host:7077"])
def test_a_master_as_spark_names_it(master: str) -> None:
    assert SparkSettings(master=master).master == master


def test_an_environment_of_other_requirements_is_not_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(services_dir=tmp_path)
    ready = environment.folder(settings) / ".ready"
    ready.parent.mkdir()
    ready.write_text("of another version\n")
    with pytest.raises(steps.StepError, match="or not up to date"):
        environment.python(settings)
    monkeypatch.setattr(environment, "_uv", lambda *_: None)
    if sys.version_info[:2] == environment.PYTHON:
        environment.install(settings)
        assert environment.python(settings).name == "python"
    monkeypatch.setattr(environment, "PYTHON", (3, 2))  # which is nowhere
    with pytest.raises(steps.StepError, match=r"with Python 3\.2, .* no python3\.2 is on PATH"):
        environment.install(settings)


def test_spark_counts_pairs_for_a_step_that_it_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own; where that fails, the step does."""
    assert engines.beside_models(Settings()).pairs(3) is None
    pairs = engines.beside_models(Settings(engine="spark", exchange_dir=tmp_path)).pairs(3)
    assert pairs is not None
    monkeypatch.setattr(environment, "python", lambda _: sys.executable)
    if find_spec("pyspark") is None:
        with pytest.raises(steps.StepError, match="Spark did not count the pairs of items"):
            pairs.seen_together()
        assert "pyspark" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_table_in_parts_is_read_as_one_and_replaces_a_file(tmp_path: Path) -> None:
    """And a file replaces it."""
    with sources.opened(made_up_movielens(tmp_path / "films")) as source:
        data = PandasEngine().ingest(source)
    tables = data.join(artifacts.EVENTS.read(nothing_told(tmp_path))).split(data.dataset, 0.8)
    tables.write(tmp_path)
    whole, path = tables.ratings, artifacts.RATINGS.at(tmp_path)
    digest = sha256(path)
    with artifacts.RATINGS.in_parts(tmp_path) as folder:
        for number, part in enumerate((whole[:700], whole[700:])):
            artifacts.RATINGS.write(tmp_path / "other", part)
            artifacts.RATINGS.at(tmp_path / "other").rename(folder / f"part-{number:05d}-x.zstd.parquet")
        (folder / "_SUCCESS").touch()
    assert artifacts.RATINGS.read(tmp_path).equals(whole)
    assert artifacts.RATINGS.read(tmp_path, ["userid"]).equals(whole[["userid"]])
    assert [file.name[:10] for file in sorted(path.iterdir())] == ["part-00000", "part-00001"]
    assert sha256(path) != digest
    artifacts.RATINGS.write(tmp_path, whole)
    assert sha256(path) == digest


def nothing_told(folder: Path) -> Path:
    from data_exchange_center.event_parts import EventParts

    artifacts.EVENTS.write(folder, EventParts(folder / "nowhere").read())
    return folder


def test_that_an_engine_says_there_is_no_null_changes_nothing(tmp_path: Path) -> None:
    fields = [pa.field(name, kind, nullable=False) for name, kind in artifacts.POPULAR.columns.items()]
    table = pa.table({"itemid": [7], "score": [0.5]}, pa.schema(fields))
    with artifacts.POPULAR.in_parts(tmp_path) as folder:
        pq.write_table(table, folder / "part-0.parquet")
    assert artifacts.POPULAR.read(tmp_path).to_dict("records") == [{"itemid": 7, "score": 0.5}]


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    def with_parts(*parts: pd.DataFrame) -> None:
        with artifacts.RATINGS.in_parts(tmp_path) as folder:
            for number, part in enumerate(parts):
                part.to_parquet(folder / f"part-{number}.parquet")

    with pytest.raises(ArtifactError, match="holds no part"):
        with_parts()
    with pytest.raises(ArtifactError, match=r"columns \['itemid'.* are absent and \['other'\] unexpected"):
        with_parts(pd.DataFrame({"userid": [1], "other": [2]}))
    assert not artifacts.RATINGS.at(tmp_path).exists()
