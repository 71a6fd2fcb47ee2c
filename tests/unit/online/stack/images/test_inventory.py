"""What the script says that runs within an image."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.metadata import distributions, version
from pathlib import Path

from online.stack.images import inventory


def test_python_packages_have_normal_names_versions_and_licences(tmp_path: Path) -> None:
    folder = tmp_path / "Zope.Fancy_thing-2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: Zope.Fancy_thing\nVersion: 2\nLicense-Expression: ZPL-2.1\n"
    )
    (package,) = inventory.python_packages(distributions(path=[str(tmp_path)]))
    assert (package["name"], package["version"], package["expression"]) == ("zope-fancy-thing", "2", "ZPL-2.1")


def test_jars(tmp_path: Path) -> None:
    (tmp_path / "a-1.jar").write_bytes(b"a")
    (tmp_path / "readme").write_bytes(b"b")
    assert inventory.jars(tmp_path) == {"a-1.jar": hashlib.sha256(b"a").hexdigest()}


def test_it_runs_from_standard_input_on_the_standard_library_alone(tmp_path: Path) -> None:
    script = Path(inventory.__file__).read_text(encoding="utf-8")
    command = [sys.executable, "-I", "-S", "-"]  # no site-packages
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True, cwd=tmp_path)
    held = json.loads(done.stdout)
    assert set(held) == {"release", "python", "debian", "jars"}
    assert version("rich") not in {package["version"] for package in held["python"] if package["name"] == "rich"}
