import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.files import sha256
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline import step_runner
from past_one_machine.spark import TWINS, environment
from past_one_machine.spark.users import folder_written_in_place, in_parts
from tests.unit.data_exchange_center.test_artifacts import TABLE, frame  # noqa: F401 (a fixture)

# environment


def test_a_twin_runs_in_sparks_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[object, ...]] = []
    ran: list[Settings] = []
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(sys, "argv", ["s2_term_trans.py"])
    monkeypatch.setattr(environment, "python", lambda _: tmp_path / "python")
    environment.run(ran.append)
    assert started == [
        (tmp_path / "python", [str(tmp_path / "python"), "s2_term_trans.py"])
    ]
    monkeypatch.setattr(environment, "python", lambda _: Path(sys.executable))
    environment.run(ran.append)
    assert len(started) == 1


def test_without_sparks_environment_a_twin_says_how_to_get_it(tmp_path: Path) -> None:
    script = step_runner.ROOT / TWINS["offline/recall/s1_term_recall.py"]
    env = os.environ | {"RECSYS_ENGINE": "spark", "RECSYS_SERVICES_DIR": str(tmp_path)}
    command = [sys.executable, script.name]
    done = subprocess.run(
        command, cwd=script.parent, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "run `make spark`, or compute with RECSYS_ENGINE=pandas" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_of_other_requirements_is_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(services_dir=tmp_path)
    ready = environment.folder(settings) / ".ready"
    ready.parent.mkdir()
    ready.write_text("of another version\n")
    with pytest.raises(StepError, match="or not up to date"):
        environment.python(settings)
    with monkeypatch.context() as patch:
        patch.setattr(environment, "_uv", lambda *_: None)
        environment.install(settings)
        assert environment.python(settings).name == "python"
    monkeypatch.setattr(environment, "PYTHON", (3, 99))  # which is nowhere
    with pytest.raises(
        StepError,
        match=r"`uv venv .* failed; run `make spark` again, where Python 3\.99 is on PATH",
    ):
        environment.install(settings)


# Tables in parts


def test_a_table_in_parts_is_read_as_one_and_replaces_a_file(
    tmp_path: Path,
    frame: pd.DataFrame,  # noqa: F811
) -> None:
    """And a file replaces it."""
    path = TABLE.write(tmp_path, frame)
    digest = sha256(path)
    with in_parts(TABLE, tmp_path) as folder:
        for number, rows in enumerate((frame[:1], frame[1:])):
            TABLE.write(tmp_path / "other", rows).rename(
                folder / f"part-{number:05d}-x.zstd.parquet"
            )
        (folder / "_SUCCESS").touch()
    assert TABLE.read(tmp_path)["userid"].tolist() == [1, 2]
    assert [file.name[:10] for file in sorted(path.iterdir())] == [
        "part-00000",
        "part-00001",
    ]
    assert sha256(path) != digest
    TABLE.write(tmp_path, frame)
    assert sha256(path) == digest


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no part"), in_parts(TABLE, tmp_path):
        pass
    with (
        pytest.raises(
            ArtifactError,
            match=r"columns \['items'\] are absent and \['other'\] unexpected",
        ),
        in_parts(TABLE, tmp_path) as folder,
    ):
        pd.DataFrame({"userid": [1], "other": [2]}).to_parquet(
            folder / "part-0.parquet"
        )
    assert not TABLE.at(tmp_path).exists()


def test_a_folder_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.mkdir()
    (path / "old").write_text("old")

    def fail() -> None:
        with folder_written_in_place(path) as temporary:
            (temporary / "new").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [file.name for file in path.iterdir()] == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == ["made"]
