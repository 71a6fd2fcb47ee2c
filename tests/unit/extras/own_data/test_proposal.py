from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.own_data.proposal import main, propose
from tests.datasets import tables_of
from tests.made_up_data import half_stars, shop
from tests.unit.offline.synthetic import made_up_movielens


def bare_shop(folder: Path) -> Path:
    """In a folder of the folder."""
    (shop(folder / "data" / "2024") / "dataset.toml").unlink()
    return folder


def bare_half_stars(folder: Path) -> Path:
    (half_stars(folder) / "dataset.toml").unlink()
    return folder


def films(folder: Path) -> Path:
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
    header = "userId\tmovieId\trating\ttimestamp\n"
    (folder / "ratings.tsv").write_text(header + ratings)
    return folder


def goods(folder: Path) -> Path:
    """A brand with a bar in its name, tags between bars."""
    tags = ["garden", "music", "blue", "red", "small", "large", "new"]
    brands = ["Nord|Süd", "Acme", "Bolt", "Crux", "Dune"]
    lines = [
        f"i{n},{brands[n % 5]},{'|'.join(tags[(n * k) % 7] for k in (1, 3, 6 + n % 5))}\n"
        for n in range(1, 275)
    ]
    items = "sku,brand,tags\n" + "".join(lines)
    (folder / "items.csv").write_text(items, encoding="utf-8")
    events = "".join(
        f"u{n % 31},i{n % 274 + 1},2024-01-01T10:00:{n % 60:02d}.123456+02:00,{1_234_567 + n % 3}\n"
        for n in range(900)
    )
    (folder / "log.csv").write_text("customer,sku,viewed_at,score\n" + events)
    return folder


# what is proposed of events, users and items, in this order
FOUND = {
    bare_shop: (
        {"file": "interactions.csv", "user": "customer", "item": "sku", "time": "at"},
        None,
        None,
    ),
    bare_half_stars: (
        {"file": "seen.csv.gz", "time_unit": "ms", "value": "stars"},
        {"Land": "categorical", "Jahre": "numeric", "mag": "multi-valued"},
        {"Art": "categorical", "Preis": "numeric"},
    ),
    films: (
        {"time": "timestamp", "time_unit": "s", "value": "rating"},
        None,
        {"genres": "multi-valued"},
    ),
    goods: (
        {"time": "viewed_at", "time_unit": "iso", "positive_above": 1_234_567.5},
        None,
        {"brand": "categorical", "tags": "multi-valued"},
    ),
}


@pytest.mark.parametrize(("made", "expected"), FOUND.items())
def test_a_proposal_is_usable(
    tmp_path: Path,
    made: Callable[[Path], Path],
    expected: tuple[dict[str, Any], dict[str, str] | None, dict[str, str] | None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    main(Settings(), made(folder))
    # which can be pasted
    assert f"make demo RECSYS_DATA='{folder}'" in capsys.readouterr().out
    proposed = tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))
    events, users, items = expected
    assert proposed["name"] == "my-data"
    assert events.items() <= proposed["interactions"].items()
    assert proposed.get("users", {}).get("attributes") == users
    assert proposed.get("items", {}).get("attributes") == items
    assert len(tables_of(folder).ratings) > 0


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    header = (films(tmp_path) / "films.tsv").read_text()
    named = header.replace("genres", "made: by")
    (tmp_path / "films.tsv").write_text(named)
    text = propose(tmp_path)
    assert '# "plot": left out' in text
    assert '# "made: by": left out' in text, "it would separate the names of terms"
    assert '# [users]: no file lists every "userId" once' in text


def test_existing_files_are_never_overwritten(tmp_path: Path) -> None:
    before = (shop(tmp_path) / "dataset.toml").read_text()
    with pytest.raises(StepError, match="is there already"):
        main(Settings(), tmp_path)
    assert (tmp_path / "dataset.toml").read_text() == before


def test_files_that_hold_no_events_are_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="is no folder"):
        propose(tmp_path / "nowhere")
    with pytest.raises(StepError, match=r"\.csv.* looks like .*Found: none"):
        propose(tmp_path)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StepError, match=r"notes\.csv: a, b.*by hand"):
        propose(tmp_path)
    (tmp_path / "log.csv").write_text("u1,i1,2024-01-01\nu2,i2,2024-01-02\n")
    with pytest.raises(StepError, match=r"log\.csv seems to have no header"):
        propose(tmp_path)
    with pytest.raises(StepError, match="holds MovieLens, which needs no"):
        propose(made_up_movielens(tmp_path / "ml"))
