"""Results of each user, kept in a file, so that an interrupted run resumes."""

from __future__ import annotations

import json
from pathlib import Path

from research.measure.replayed import Replayed


class KeptResults:
    """A line a user, below one that names the release."""

    def __init__(self, path: Path, release: str) -> None:
        """``release``: what the server of another one was found to answer is deleted."""
        self._path = path
        head = f"{json.dumps({'release': release})}\n"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1] if text.startswith(head) else head  # a kill may have cut the last line
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(whole, encoding="utf-8")

    def read(self) -> dict[int, Replayed]:
        """By user."""
        lines = self._path.read_text(encoding="utf-8").splitlines()[1:]
        return {each.user: each for each in (Replayed.of_json(json.loads(line)) for line in lines)}

    def add(self, found: Replayed) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(found.as_json())}\n")

    def done(self) -> None:
        self._path.unlink()
