from __future__ import annotations

import pytest

from offline.data.inputs import release_year


@pytest.mark.parametrize(
    ("title", "year"), [("Toy Story (1995)", 1995), ("2001 (1968) ", 1968), ("Nothing", 0), ("(1990) Later", 0)]
)
def test_release_year(title: str, year: int) -> None:
    assert release_year(title) == year
