"""The stub loads this Python's library in place of the one that its wheel brings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from online.stack.triton import service as triton


def test_a_bundled_library_is_stood_in_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(services_dir=tmp_path)
    bundled = triton.site_packages(settings) / "nvidia_pytriton.libs" / f"libpython3-0a1b.{sys.version_info[1]}.so.1.0"
    bundled.parent.mkdir(parents=True)
    bundled.touch()
    monkeypatch.setattr(triton, "libpython_dir", lambda: Path("/usr/lib/here"))
    for _ in range(2):  # each start
        link = triton.own_libpython(settings) / bundled.name
        assert link.readlink() == Path(f"/usr/lib/here/libpython{triton.PYTHON}.so.1.0")
    first, second, *_ = triton.TRITON.program(settings).environment["LD_LIBRARY_PATH"].split(":")
    assert (first, second) == (str(link.parent), str(bundled.parent))


def test_there_is_nothing_to_stand_in_for_where_the_wheel_brings_none(tmp_path: Path) -> None:
    assert list(triton.own_libpython(Settings(services_dir=tmp_path)).iterdir()) == []
