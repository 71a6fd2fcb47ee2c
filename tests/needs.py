"""Programs and data that no Python package brings: a test that lacks one is skipped and says how to get it."""

from __future__ import annotations

import os
import shutil

import pytest


def not_tested(what: str, command: str) -> str:
    """The reason of such a skip. ``tests/conftest.py`` lists them all at the end of a run.

    Args:
        what: the missing program or data.
        command: what brings it.
    """
    return f"NOT TESTED: {what} is missing: {command}"


def program(package: str, *names: str) -> str:
    """Path of the first program that is installed, else skip the test.

    Args:
        package: Debian's package that brings it; the program's own name where ``names`` is empty.
        names: the program, by all the names that it goes by.
    """
    names = names or (package,)
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    found = next(
        (program for name in names if (program := shutil.which(name, path=path))), None
    )
    if found is None:
        pytest.skip(not_tested(names[0], f"apt install {package}"))
    return found
