"""A step's docstring names the files that the step is declared to read and to write, recipe by recipe."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_exchange_center import artifacts, provenance
from data_exchange_center.provenance import Step
from data_exchange_center.recipes import RECIPES

ROOT = Path(artifacts.__file__).parents[1]
HEADINGS = ("Reads:", "Writes:", "Run:", "Expect:")


def sections(step: Step) -> dict[str, str]:
    docstring = ast.get_docstring(ast.parse((ROOT / step.path).read_text())) or ""
    parts = re.split(rf"^({'|'.join(HEADINGS)})", docstring, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(text: str, recipe: str) -> set[str]:
    """Paths of a section: those for every recipe stand first, then those of one after its name and a colon."""
    common, *rest = re.split(rf"\b({'|'.join(RECIPES)}):", text)
    own = dict(zip(rest[::2], rest[1::2], strict=True))
    return {path for part in (common, own.get(recipe, "")) for path in paths(part)}


def paths(text: str) -> Iterator[str]:
    """``offline/{a,b}.json`` -> ``offline/a.json``, ``offline/b.json``."""
    for folder, names, ending in re.findall(r"(offline/(?:raw/)?)(\{[\w,.]+\}|\w+)(\.\w+)?", text):
        yield from (f"{folder}{name}{ending}" for name in names.strip("{}").split(","))


@pytest.mark.parametrize("recipe", sorted(RECIPES))
@pytest.mark.parametrize("step", provenance.STEPS, ids=lambda step: step.path)
def test_the_docstring_names_what_is_declared(step: Step, recipe: str) -> None:
    found = sections(step)
    assert tuple(found) == HEADINGS
    known = {artifact.path for artifact in artifacts.ARTIFACTS}
    for heading, declared in (("Reads:", step.inputs(RECIPES[recipe])), ("Writes:", step.outputs(RECIPES[recipe]))):
        assert named(found[heading], recipe) & known == {file.path for file in declared}, heading
    assert Path(step.path).name in found["Run:"]
