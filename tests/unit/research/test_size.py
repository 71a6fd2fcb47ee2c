from __future__ import annotations

from research.size import Size, measure, sizes, total

SOURCE = '''"""A file."""

import os
from pathlib import (
    Path,
)

# A comment of its own.
here = Path(os.curdir)  # behind code: no line of its own
'''


def test_comments_and_imports_are_counted() -> None:
    assert measure(SOURCE) == Size(files=1, lines=9, comments=1, imports=4)


def test_files_are_added_up_by_room() -> None:
    found = sizes([("offline/a.py", "a = 1\n"), ("offline/data/b.py", "b = 1\nc = 1\n"), ("setup.py", "")])
    assert found == {"offline": Size(files=2, lines=3)}
    assert total(found, ["offline", "online"]) == Size(files=2, lines=3)
