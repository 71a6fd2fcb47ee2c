"""Events of several types: declared, read, proposed, refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_exchange_center.steps import StepError
from extras.own_data import reader
from extras.own_data.declaration import parse
from extras.own_data.proposal import propose
from offline import movielens
from tests.datasets import tables_of
from tests.made_up_data import SHOP

COLUMN = 'type = "kind"\n'
TYPES = """
[types]
buy = { target = true, has = true }
view = { weight = 0.1 }
shown = { history = false }
"""
DECLARED = SHOP + COLUMN + TYPES
EVENTS = """customer,sku,at,kind
u,a,2024-01-01T10:00:00Z,view
u,a,2024-01-01T10:00:01Z,buy
v,b,2024-01-01T10:00:02Z,view
v,a,2024-01-01T10:00:03Z,shown
"""


def written(folder: Path, events: str = EVENTS, declared: str = DECLARED) -> Path:
    folder.mkdir()
    (folder / "dataset.toml").write_text(declared)
    (folder / "interactions.csv").write_text(events)
    return folder


def test_a_type_is_the_code_of_an_event(tmp_path: Path) -> None:
    folder = written(tmp_path / "shop")
    with movielens.files_of(folder) as files:
        dataset = reader.read(files, folder, tmp_path / "exchange")
    assert dataset is not None
    assert [each.name for each in dataset.types] == ["view", "shown", "buy"]
    assert (dataset.levels, dataset.positive_level) == ((1.0, 2.0, 3.0), 2)
    ratings = tables_of(folder).ratings["rating"].tolist()
    assert ratings == [1, 3, 1], "what nothing reads is left out"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (COLUMN, "", "types: type in .interactions."),
        (TYPES, "", "types: type in .interactions."),
        ("target = true, ", "", "types: no type has target = true"),
        ("weight = 0.1", "weight = -0.1", r"types\.view\.weight: .*greater than"),
        ("weight = 0.1", "heavy = 1", r"types\.view\.heavy"),
        (COLUMN, f'{COLUMN}value = "stars"\npositive_above = 3\n', "type or value"),
    ],
)
def test_a_mistake_names_its_field(old: str, new: str, message: str) -> None:
    assert old in DECLARED
    with pytest.raises(StepError, match=f"^my/dataset.toml: .*{message}"):
        parse(DECLARED.replace(old, new, 1), "my/dataset.toml")


def test_an_unknown_type_is_refused_with_file_line_and_column(tmp_path: Path) -> None:
    folder = written(tmp_path / "shop", f"{EVENTS}v,a,2024-01-01T11:00:00Z,gift\n")
    message = (
        r"interactions\.csv, line 6, column 'kind': one of view, shown, buy .*'gift'"
    )
    with pytest.raises(StepError, match=message):
        tables_of(folder)


def test_types_are_proposed_with_their_counts(tmp_path: Path) -> None:
    kinds = ["view"] * 6 + ["cart"] * 3 + ["buy"] * 2 + ["refund"]
    rows = [
        f"u{n % 3},i{n % 4},{1_700_000_000 + n},{kind}" for n, kind in enumerate(kinds)
    ]
    events = "\n".join(["user,item,time,event_type", *rows])
    (tmp_path / "log.csv").write_text(events)
    text = propose(tmp_path)
    found = parse(text)
    assert found.interactions.type == "event_type"
    assert list(found.types) == ["view", "cart", "buy", "refund"]
    assert [name for name, each in found.types.items() if each.has] == ["buy"]
    assert [name for name, each in found.types.items() if each.negative] == ["refund"]
    assert re.search(r'"view" = .*# 6 of', text)
