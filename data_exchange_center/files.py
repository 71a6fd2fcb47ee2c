"""Atomic writes: a file is whole or absent; and SHA-256 digests of files."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_in_place(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block succeeds, and is removed otherwise.

    ``mode``: permissions of the finished file, which may hold what users did; containers read it as its owner.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        if path.is_dir():
            shutil.rmtree(path)  # a folder of parts
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8, atomically."""
    with written_in_place(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


PARTS = "part-*"  # part files of a folder that an engine (Spark) has written in place of a file


def parts_of(path: Path) -> list[Path]:
    """The part files of a table, in order; a plain file is its only part."""
    return sorted(path.glob(PARTS)) if path.is_dir() else [path]


def sha256(path: Path) -> str:
    """Hex digest of a file; for a folder of parts, of the parts' digests in order."""
    if path.is_dir():
        return hashlib.sha256("".join(map(sha256, parts_of(path))).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
