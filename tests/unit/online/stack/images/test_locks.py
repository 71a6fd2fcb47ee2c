"""Every pin of the lock files, with the files that hold it."""

from __future__ import annotations

from pathlib import Path

from online.stack.images.locks import LOCKS, pins


def test_pins_are_read_with_and_without_hashes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "Zope.event==6.2 \\\n    --hash=sha256:" + "0" * 64 + "\n    # via x\nnumpy==1.26.4\n"
    )
    (tmp_path / "b.txt").write_text("numpy==2.4.6\nzope-event==6.2\ncolorama==0.4.6 ; sys_platform == 'win32'\n")
    assert pins([tmp_path / "a.txt", tmp_path / "b.txt"]) == {
        ("numpy", "1.26.4"): ("a.txt",),
        ("numpy", "2.4.6"): ("b.txt",),
        ("zope-event", "6.2"): ("a.txt", "b.txt"),
    }


def test_all_lock_files_are_read() -> None:
    names = {lock.parent.name + "/" + lock.name for lock in LOCKS}
    assert {"images/server.txt", "images/steps.txt", "triton/requirements.txt"} <= names
    assert LOCKS[0].name == "requirements.txt"
