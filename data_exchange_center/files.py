"""Files that are written whole or not at all, and what identifies their content."""

from __future__ import annotations

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
def written_in_place(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """A temporary path next to ``path`` that replaces it when the block ends well and vanishes otherwise.

    ``mode``: the file's permissions from the moment that it is there; until then it is its owner's alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        if path.is_dir():
            shutil.rmtree(path)  # parts of an engine
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """``content`` as readable JSON, whole or not at all."""
    with written_in_place(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


PARTS = "part-*"  # the files of a folder that an engine has written in the place of a file


def parts_of(path: Path) -> list[Path]:
    """The parts of what an engine has written, in order; a plain file is its own."""
    return sorted(path.glob(PARTS)) if path.is_dir() else [path]


def sha256(path: Path) -> str:
    """Hex digest of a file; of a folder that an engine has written, of its parts' digests in order."""
    if path.is_dir():
        return hashlib.sha256("".join(map(sha256, parts_of(path))).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
