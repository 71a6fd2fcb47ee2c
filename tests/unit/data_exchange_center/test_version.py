"""The project's version stands in two places: here they are held equal."""

from __future__ import annotations

import tomllib

from data_exchange_center import VERSION
from tests.readmes import ROOT


def test_the_code_and_its_package_say_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
