from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from data_exchange_center import VERSION
from stack.recsys import main
from stack.service import BIN


@pytest.mark.parametrize(
    ("arguments", "module", "passed"),
    [
        (["status"], "stack", ["status"]),
        (["up", "redis", "feast"], "stack", ["up", "redis", "feast"]),
        (["releases"], "stack.releases", ["list"]),
        (["activate", "89736b400bb4"], "stack.releases", ["activate", "89736b400bb4"]),
        (["import", "my folder"], "extras.own_data.proposal", ["my folder"]),
        (["doctor"], "extras.doctor", []),
    ],
)
def test_a_command_runs_its_module(
    arguments: list[str],
    module: str,
    passed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = []
    monkeypatch.setattr(sys, "argv", ["recsys"])
    monkeypatch.setattr(
        runpy,
        "run_module",
        lambda name, run_name: ran.append((name, run_name, sys.argv[1:])),
    )
    main(arguments)
    assert ran == [(module, "__main__", passed)]


@pytest.mark.parametrize(
    "arguments", [[], ["activate"], ["import"], ["nothing"], ["up", "--nothing"]]
)
def test_wrong_arguments_are_one_sentence(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["recsys"])
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert " error: " in capsys.readouterr().err.splitlines()[-1]


def test_the_installed_command_runs_in_any_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ratings.csv").write_text(
        "user,item,stars,time\n1,2,5,978300760\n2,1,4,978300761\n"
    )

    def run(*arguments: str) -> str:
        return subprocess.run(
            [BIN / "recsys", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert run("--version").split() == ["recsys", VERSION]
    assert "dataset.toml" in run("import", "data")
    assert (tmp_path / "data" / "dataset.toml").is_file()
