"""The READMEs' commands, examples and badges are those of the repository."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest

from data_exchange_center.recipes import RECIPES
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from docs import notebooks, reference_pages
from extras import replay
from extras.own_data import proposal
from research.evaluation import baselines
from research.evaluation.one_table import evaluate
from research.measure import shop
from research.measure.event_types import BUY, VIEW, Typed
from tests import readmes
from tests.readmes import ROOT
from tests.unit.offline.synthetic import run_steps

PAIRS = [
    (name.replace(".zh-CN", ""), name) for name in readmes.readmes(readmes.CHINESE)
]


def text_of(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


@pytest.fixture(params=[*readmes.readmes(), *readmes.readmes(readmes.CHINESE)])
def readme(request: pytest.FixtureRequest) -> str:
    return text_of(request.param)


def tracked(pattern: str) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()


def test_every_make_command_is_a_target(readme: str) -> None:
    makefiles = "\n".join((ROOT / name).read_text() for name in tracked("*Makefile"))
    targets = set(re.findall(r"^([a-z0-9-]+):", makefiles, re.MULTILINE))
    named = re.findall(r"`(?:[A-Z_]+=\S+ )*make ([^`]+)`", readme) + re.findall(
        r"^make ([^#\n]+)", readme, re.MULTILINE
    )
    words = {
        word
        for line in named
        for part in line.split("&&")
        for word in part.removeprefix(" make ").split()
    }
    assert {word for word in words if "=" not in word} <= targets


def test_every_setting_exists(readme: str) -> None:
    """In the settings' reference, or as a variable of the containers."""
    containers = ("stack/docker.sh", "docker-compose.yml")
    known = reference_pages.settings_page() + "".join(map(text_of, containers))
    named = re.findall(r"RECSYS_[A-Z0-9_]*[A-Z0-9]", readme)
    assert [name for name in named if name not in known] == []


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_both_languages_show_the_same_commands_and_figures(
    pair: tuple[str, str],
) -> None:
    english, chinese = map(text_of, pair)
    printed = [re.findall(r"\[\[\[cog (\w+)\(", text) for text in (english, chinese)]
    assert printed[0] == printed[1]
    shown = [
        [(c.text, bool(c.not_run), c.run_by) for c in readmes.commands(name)]
        for name in pair
    ]
    assert shown[0] == shown[1]


def test_every_command_is_run_by_a_test_or_says_why_not() -> None:
    """Those without a note are run by tests/e2e/full/test_readmes.py, which reads them here."""
    tests = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "tests" / "e2e").rglob("*.py")
    )
    found = [
        command for name in readmes.readmes() for command in readmes.commands(name)
    ]
    assert len(readmes.to_run()) >= 10
    for command in found:
        if command.run_by:
            assert f"def {command.run_by}(" in tests, command
        if command.not_run:
            assert len(command.not_run) > 20, command
            for path in re.findall(r"tests/[\w/.]+", command.not_run):
                assert (ROOT / path).exists(), command


@pytest.mark.parametrize(
    ("block", "not_run"),
    [pair for name in readmes.readmes() for pair in readmes.python_blocks(name)],
)
def test_python_examples_run(
    block: str, not_run: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = compile(block, "README", "exec")
    if not_run:
        tests = re.findall(r"tests/[\w/.]+", not_run)
        assert tests
        assert all((ROOT / test).exists() for test in tests)
        return
    monkeypatch.setattr("data_exchange_center.recipes.RECIPES", dict(RECIPES))
    module = ModuleType("block")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, module.__dict__)


# The documentation builds strictly, without a network.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # a proxy that is not there: whatever looks for the network fails
    environment = os.environ | dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    )
    options = (
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        "-c",
        "docs",
        "-d",
        str(folder / "doctrees"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ".", str(folder / "html")],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return folder / "html"


def test_every_picture_of_a_page_is_there(site: Path) -> None:
    found = {
        page.parent / source
        for page in site.rglob("*.html")
        for source in re.findall(
            r'<img\b[^>]*\bsrc="([^":?#]+)"', page.read_text(encoding="utf-8")
        )
        if not source.endswith("badge.svg")  # of the code's host
    }
    assert found
    assert [path for path in found if not path.is_file()] == []


def test_pages_name_no_folder_of_the_machine(site: Path) -> None:
    found = [
        path.name
        for path in site.rglob("*.html")
        if str(ROOT) in path.read_text(encoding="utf-8")
    ]
    assert found == []


# The tutorial's notebooks as they are committed: run in order, without a trace of a machine.


@pytest.fixture(params=notebooks.names())
def cells(request: pytest.FixtureRequest) -> list[nbformat.NotebookNode]:
    path = notebooks.FOLDER / f"{request.param}.ipynb"
    all_cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in all_cells if cell.cell_type == "code"]


def test_outputs_name_no_machine(cells: list[nbformat.NotebookNode]) -> None:
    shown = str([cell.outputs for cell in cells])
    assert not re.search(r"/(tmp|home|root|work)/|127\.0\.0\.1:\d|Traceback", shown)


# The chapter "Your shop in twenty minutes": from three CSV files to purchases ranked first.


CHAPTER = (ROOT / "docs" / "guides" / "shop.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chapter") / "my-shop"
    with pytest.MonkeyPatch.context() as patch:
        size = ["--users", "150", "--items", "60", "--visits", "8"]
        patch.setattr(sys, "argv", ["shop", str(folder), *size])
        shop.main()
    proposal.main(Settings(), folder)
    return folder


def test_the_proposal_is_the_chapters(folder: Path) -> None:
    (shown,) = re.findall(r"```toml\n(\[types\].*?)```", CHAPTER, re.DOTALL)
    proposed = tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))
    assert proposed["types"] == tomllib.loads(shown)["types"]
    assert proposed["interactions"]["type"] == "kind"


def test_purchases_are_ranked_first(folder: Path, tmp_path: Path) -> None:
    settings = run_steps(Settings(data=folder, exchange_dir=tmp_path / "exchange"))
    manifest = release_of_artifacts(settings)
    assert manifest.objectives == {"view": 0.1, "cart": 0.3, "buy": 1.0}
    purchases = Typed(settings)
    bought = purchases.targets(BUY)

    def ndcg(lists: replay.Lists) -> float:
        return float(np.nanmean(replay.ndcg(lists, bought, 20)))

    holdout = purchases.holdout
    ranked = replay.answers(settings, holdout).ranked
    views = replay.answers(settings, holdout, objectives=(1.0, 0.0, 0.0)).ranked
    assert ndcg(ranked) > 1.2 * ndcg(baselines.popularity(holdout, replay.SHOWN))
    assert ndcg(ranked) > ndcg(views), "the request's weights move the order"
    assert purchases.targets(VIEW).nnz > bought.nnz
    by_type = evaluate(settings, "make evaluate-offline")["types"]
    assert [*by_type] == ["view", "cart", "buy"]
    of_purchases = by_type["buy"]
    assert (
        of_purchases["default: ranked"]["ndcg@50"]
        > of_purchases["popularity"]["ndcg@50"]
    )
