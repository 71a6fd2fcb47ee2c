"""A figure says of which code it is: that code's digest is another one when it has changed, not when its words have."""

from __future__ import annotations

from pathlib import Path

import pytest

from research import figure_files as figures
from research.figure_files import digest

CODE = '''"""Adds."""


def add(one: int, other: int) -> int:
    """The sum."""
    return one + other  # of both
'''


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of a repository of its own."""
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    path = tmp_path / "package" / "module.py"
    path.parent.mkdir()
    path.write_text(CODE)
    return path


def digest_now() -> str:
    digest.cache_clear()
    figures._without_words.cache_clear()
    return digest(("package",))


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (CODE.replace("Adds", "Sums up").replace("# of both", "# two numbers").replace("The sum", "Their sum"), True),
        (CODE.replace("one + other", "one - other"), False),
    ],
)
def test_a_digest_is_of_the_code_without_its_words(code: Path, changed: str, same: bool) -> None:
    before = digest_now()
    code.write_text(changed)
    assert (digest_now() == before) == same
