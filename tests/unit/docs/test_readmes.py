"""The READMEs' commands, examples and badges are those of the repository."""

import re
import sys
from functools import cache
from types import ModuleType

import nbformat
import pytest

from data_exchange_center.recipes import RECIPES
from docs import notebooks, reference_pages
from tests import readmes
from tests.readmes import ROOT

PAIRS = [
    (name.replace(".zh-CN", ""), name) for name in readmes.readmes(readmes.CHINESE)
]


def text_of(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


@pytest.fixture(params=[*readmes.readmes(), *readmes.readmes(readmes.CHINESE)])
def readme(request: pytest.FixtureRequest) -> str:
    return text_of(request.param)


@cache
def targets() -> set[str]:
    """Of every Makefile."""
    names = readmes.tracked("*Makefile")
    makefiles = "\n".join((ROOT / name).read_text() for name in names)
    return set(re.findall(r"^([a-z0-9-]+):", makefiles, re.MULTILINE))


@cache
def settings() -> str:
    """The settings' reference, and the variables of the containers."""
    containers = ("stack/docker.sh", "docker-compose.yml")
    return reference_pages.settings_page() + "".join(map(text_of, containers))


def test_every_make_command_is_a_target(readme: str) -> None:
    named = re.findall(r"`(?:[A-Z_]+=\S+ )*make ([^`]+)`", readme) + re.findall(
        r"^make ([^#\n]+)", readme, re.MULTILINE
    )
    words = {
        word
        for line in named
        for part in line.split("&&")
        for word in part.removeprefix(" make ").split()
    }
    assert {word for word in words if "=" not in word} <= targets()


def test_every_setting_exists(readme: str) -> None:
    named = re.findall(r"RECSYS_[A-Z0-9_]*[A-Z0-9]", readme)
    assert [name for name in named if name not in settings()] == []


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


@pytest.mark.parametrize(
    "block",
    [block for name in readmes.readmes() for block in readmes.python_blocks(name)],
)
def test_python_examples_run(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = compile(block, "README", "exec")
    monkeypatch.setattr("data_exchange_center.recipes.RECIPES", dict(RECIPES))
    module = ModuleType("block")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, module.__dict__)


# The tutorial's notebooks as they are committed: run in order, without a trace of a machine.


@pytest.fixture(params=notebooks.names())
def cells(request: pytest.FixtureRequest) -> list[nbformat.NotebookNode]:
    path = notebooks.FOLDER / f"{request.param}.ipynb"
    all_cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in all_cells if cell.cell_type == "code"]


def test_outputs_name_no_machine(cells: list[nbformat.NotebookNode]) -> None:
    shown = str([cell.outputs for cell in cells])
    assert not re.search(r"/(tmp|home|root|work)/|127\.0\.0\.1:\d|Traceback", shown)
