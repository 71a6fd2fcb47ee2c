from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.own_data.declaration import parse
from extras.own_data.proposal import main, propose
from tests.datasets import tables_of
from tests.made_up_data import half_stars, shop
from tests.unit.offline.synthetic import made_up_movielens


def bare(folder: Path) -> Path:
    (folder / "dataset.toml").unlink()
    return folder


def kinds(table: Any) -> dict[str, str]:
    return {name: spec.kind for name, spec in table.attributes.items()}


def test_a_shop(tmp_path: Path) -> None:
    found = parse(propose(bare(shop(tmp_path / "my shop"))))
    assert found.name == "my-shop"
    events = found.interactions
    assert (events.user, events.item, events.time, events.time_unit) == (
        "customer",
        "sku",
        "at",
        "iso",
    )
    assert (events.value, found.users, found.items) == (None, None, None)


def test_half_stars(tmp_path: Path) -> None:
    found = parse(propose(bare(half_stars(tmp_path))))
    events = found.interactions
    assert (events.file, events.delimiter, events.time_unit) == (
        "seen.csv.gz",
        ";",
        "ms",
    )
    assert (events.user, events.item, events.value, events.positive_above) == (
        "who",
        "what",
        "stars",
        3,
    )
    assert kinds(found.users) == {
        "Land": "categorical",
        "Jahre": "numeric",
        "mag": "multi-valued",
    }
    assert (found.users.id, found.items.id, found.items.title) == (
        "who",
        "what",
        "name",
    )
    assert kinds(found.items) == {"Art": "categorical", "Preis": "numeric"}


def movielens_like(folder: Path) -> Path:
    """Ratings and films between tabs, as GroupLens's newer sets have them; without what only this project knows."""
    films = "".join(
        f"{n}\tFilm {n} ({1990 + n % 9})\t{'Drama|War' if n % 3 else 'Comedy'}\ttext {n}\n"
        for n in range(1, 60)
    )
    (folder / "films.tsv").write_text("movieId\ttitle\tgenres\tplot\n" + films)
    ratings = "".join(
        f"{n % 23 + 1}\t{n % 59 + 1}\t{n % 5 + 1}\t{978_300_000 + n}\n"
        for n in range(500)
    )
    (folder / "ratings.tsv").write_text(
        "userId\tmovieId\trating\ttimestamp\n" + ratings
    )
    return folder


def test_films_between_tabs(tmp_path: Path) -> None:
    text = propose(movielens_like(tmp_path))
    found = parse(text)
    events = found.interactions
    assert (events.file, events.delimiter, events.time_unit) == (
        "ratings.tsv",
        "\t",
        "s",
    )
    assert (events.user, events.item, events.time) == ("userId", "movieId", "timestamp")
    assert (events.value, events.positive_above) == ("rating", 3)
    assert (found.items.id, found.items.title, found.items.separator) == (
        "movieId",
        "title",
        "|",
    )
    assert kinds(found.items) == {"genres": "multi-valued"}
    assert '# "plot": left out, as 59 of 59 values differ' in text
    assert '# [users]: no file lists every "userId" once' in text


@pytest.mark.parametrize(
    "made",
    [
        lambda folder: bare(shop(folder)),
        lambda folder: bare(half_stars(folder)),
        movielens_like,
    ],
)
def test_a_proposal_is_usable(
    tmp_path: Path, made: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    main(Settings(), made(folder))
    assert f"make demo RECSYS_DATA='{folder}'" in capsys.readouterr().out, (
        "which can be pasted"
    )
    assert len(tables_of(folder).ratings) > 0


def test_existing_files_are_never_overwritten(tmp_path: Path) -> None:
    before = (shop(tmp_path) / "dataset.toml").read_text()
    with pytest.raises(StepError, match="is there already"):
        main(Settings(), tmp_path)
    assert (tmp_path / "dataset.toml").read_text() == before


def test_files_that_hold_no_events_are_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="is no folder"):
        propose(tmp_path / "nowhere")
    with pytest.raises(StepError, match=r"holds no file that ends with \.csv"):
        propose(tmp_path)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        StepError, match=r"looks like interactions.*notes\.csv: a, b.*by hand"
    ):
        propose(tmp_path)
    with pytest.raises(StepError, match="holds MovieLens, which needs no"):
        propose(made_up_movielens(tmp_path / "ml"))


def goods(folder: Path, separator: str = ";") -> Path:
    """A brand with a bar in its name, tags between other marks, one of them with a bar in it."""
    tags = ["a|b", "garden", "music", "blue", "red", "small", "large", "new"]
    brands = ["Nord|Süd", "Acme", "Bolt", "Crux", "Dune"]
    lines = [
        f"i{n},{brands[n % 5]},{separator.join(tags[(n * k) % 8] for k in (1, 3, 7 + n % 5))}\n"
        for n in range(1, 275)
    ]
    (folder / "items.csv").write_text(
        "sku,brand,tags\n" + "".join(lines), encoding="utf-8"
    )
    events = "".join(
        f"u{n % 31},i{n % 274 + 1},2024-01-01T10:00:{n % 60:02d}.123456+02:00\n"
        for n in range(900)
    )
    (folder / "interactions.csv").write_text("customer,sku,viewed_at\n" + events)
    return folder


def test_the_separator_is_the_mark_that_splits_most(tmp_path: Path) -> None:
    text = propose(goods(tmp_path))
    items = parse(text).items
    assert items.separator == ";"
    assert kinds(items) == {"brand": "categorical", "tags": "multi-valued"}


def test_rows_without_a_header_are_refused(tmp_path: Path) -> None:
    lines = (goods(tmp_path) / "interactions.csv").read_text().splitlines(keepends=True)
    (tmp_path / "interactions.csv").write_text("".join(lines[1:]))
    with pytest.raises(
        StepError,
        match=r"interactions\.csv seems to have no header, as a column is called '2024-01",
    ):
        propose(tmp_path)


def test_files_in_folders_of_the_folder_are_looked_at(tmp_path: Path) -> None:
    bare(shop(tmp_path / "data" / "2024"))
    main(Settings(), tmp_path)
    assert len(tables_of(tmp_path).ratings) > 0


def test_the_like_threshold_keeps_all_digits(tmp_path: Path) -> None:
    events = "".join(
        f"u{n % 31},i{n % 27},{1_700_000_000 + n},{1_234_567 + n % 3}\n"
        for n in range(900)
    )
    (tmp_path / "interactions.csv").write_text("user,item,time,rating\n" + events)
    above = parse(propose(tmp_path)).interactions.positive_above
    assert 1_234_567 <= above < 1_234_569
