"""The READMEs' commands, examples and badges are those of the repository."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from data_exchange_center.recipes import RECIPES
from docs import reference_pages
from extras.models.bundle import About
from extras.questions import rules
from tests import readmes

# The READMEs' commands, examples and badges are those of the repository.

ROOT = Path(__file__).parents[3]
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


def test_a_chinese_page_has_an_english_twin() -> None:
    assert {english for english, _ in PAIRS} <= set(readmes.readmes())


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


# Every block of code in the pages is run, read by the code that it is for, or an answer that somebody sees.

BLOCK = re.compile(
    r"^```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each block."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def body(page: str, language: str, containing: str) -> str:
    (found,) = [
        text for of, text in blocks(page) if of == language and containing in text
    ]
    return found


def test_the_rules_of_the_chapter_are_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(
        body("extras/questions/README.md", "toml", "hidden")
    )
    read = rules.read(tmp_path / "rules.toml")
    assert (set(read.hidden), set(read.boosted)) == ({1, 2}, {50})


def test_the_encoder_of_the_chapter_is_an_encoder() -> None:
    about = About.model_validate(
        tomllib.loads(body("extras/models/README.md", "toml", "encoder"))
    )
    assert about.kind == "encoder"


@pytest.mark.parametrize("page", ["online/README.md", "online/README.zh-CN.md"])
def test_the_entry_point_of_the_chapter_has_a_group_that_exists(page: str) -> None:
    (group,) = tomllib.loads(body(page, "toml", "entry-points"))["project"][
        "entry-points"
    ]
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "entry-points"
    ]
    assert group in ours


def test_the_assistants_configuration_names_a_module_that_exists() -> None:
    (server,) = json.loads(body("extras/mcp/README.md", "json", "mcpServers"))[
        "mcpServers"
    ].values()
    assert find_spec(server["args"][1])
