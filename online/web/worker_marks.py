"""Which of the server's workers answer, and whether the server is stopping: marks in a folder.

gunicorn's master, its workers and the command that starts the server anew all look here. The folder itself is never
removed while the server runs, so that none of them finds it missing in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STOPPING: Final = "stopping"


@dataclass(frozen=True)
class WorkerMarks:
    """``folder``: of one server; made when the first mark is set."""

    folder: Path

    def clear(self) -> None:
        """No worker answers, or those that do are to be replaced; the server is not stopping."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            path.unlink(missing_ok=True)

    def add(self, pid: int) -> None:
        """A worker answers."""
        self._set(str(pid))

    def remove(self, pid: int) -> None:
        """A worker has ended."""
        (self.folder / str(pid)).unlink(missing_ok=True)

    def pids(self) -> set[int]:
        """Of the workers that answer, but for those that are to be replaced."""
        try:
            return {int(path.name) for path in self.folder.iterdir() if path.name.isdigit()}
        except FileNotFoundError:
            return set()

    def stop(self) -> None:
        """The whole server is to stop: no worker waits for another one to take over."""
        self._set(_STOPPING)

    def stopping(self) -> bool:
        return (self.folder / _STOPPING).exists()

    def _set(self, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).touch()
