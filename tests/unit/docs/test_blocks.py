"""Every block of code in the pages is run, read by the code that it is for, or an answer that somebody sees."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from extras.models.bundle import About
from extras.questions import rules
from tests.readmes import CHINESE, ENGLISH, ROOT, readmes

PAGES = [*readmes(ENGLISH), *readmes(CHINESE)]
# bash, python: tests/readmes.py; csv: tests/unit/extras/own_data; no language: answers; toctree: the site's navigation
LANGUAGES = {"bash", "python", "toml", "json", "csv", "text", "", "{toctree}"}
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


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_languages_that_tests_read(page: str) -> None:
    for language, text in blocks(page):
        assert language in LANGUAGES, text
        {"toml": tomllib.loads, "json": json.loads}.get(language, str)(text)


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
