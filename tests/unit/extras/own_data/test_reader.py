from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.own_data import reader
from offline.preprocess import s0_get_data
from tests.datasets import Tables
from tests.datasets import tables_of as read
from tests.made_up_data import SHOP, half_stars

HEAD = "customer,sku,at\n"
ROWS = f"{HEAD}u-1,b,2024-01-01T10:00:00Z\nu-2,a,2024-01-01 11:00\nu-1,a,2024-01-02T00:00:00.5+01:00\n"
SECONDS = SHOP.replace('"iso"', '"s"')
RATED = SECONDS + 'value = "stars"\npositive_above = 3\n'
LISTED = SHOP + '\n[items]\nid = "sku"\ntitle = "name"\n'
PARTS = SECONDS.replace("[interactions]", '[interactions]\nfile = "log-*.csv"')


def written(folder: Path, declaration: str = SHOP, /, **files: str) -> Path:
    """``items_csv="..."`` is the content of items.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.toml").write_text(declaration)
    for name, content in ({"interactions_csv": ROWS} | files).items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def in_parquet(folder: Path, declaration: str = SHOP, /, **columns: object) -> Path:
    """Interactions in Parquet: two of them, unless ``columns`` say otherwise."""
    written(folder, declaration)
    (folder / "interactions.csv").unlink()
    table = pa.table({"customer": ["u", "v"], "sku": ["a", "b"]} | columns)
    pq.write_table(table, folder / "interactions.parquet")
    return folder


def same(one: Tables, other: Tables) -> bool:
    return all(a.equals(b) for a, b in zip(one[1:], other[1:], strict=True))


def test_a_shop_has_numbers_for_its_ids(tmp_path: Path) -> None:
    found = read(written(tmp_path))
    assert found.users.to_numpy().tolist() == [[1, "u-1"], [2, "u-2"]]
    items = found.items[["itemid", "id", "title"]]
    assert items.to_numpy().tolist() == [[1, "a", "a"], [2, "b", "b"]]
    assert found.ratings.to_numpy().tolist() == [
        [1, 2, 1, 1704103200],
        [1, 1, 1, 1704150000],  # 2024-01-01T23:00:00Z, floored
        [2, 1, 1, 1704106800],
    ]
    dataset = found.dataset
    assert (dataset.user_ids, dataset.item_ids) == ("string", "string")
    assert (dataset.levels, dataset.positive_level) == ((1.0,), 0)
    assert dataset.profile == dataset.crossed == dataset.terms == dataset.numbers == ()
    assert dataset.counts == {"ratings": 3, "users": 2, "items": 2, "genres": 0}


@pytest.mark.parametrize(
    ("ids", "kind", "numbers"),
    [
        (["7", "3"], "integer", [7, 3]),
        (["0", "3"], "string", [1, 2]),
        (["-1", "3"], "string", [1, 2]),
        (["10", "9", str(2**31)], "string", [2, 1, 3]),
        (["07", "3", "x"], "string", [2, 1, 3]),
        (["3.0", "2"], "string", [2, 1]),
    ],
)
def test_ids_of_four_bytes_are_their_own_numbers(
    tmp_path: Path, ids: list[str], kind: str, numbers: list[int]
) -> None:
    rows = "".join(f"{own},x{n},2024-01-0{n + 1}\n" for n, own in enumerate(ids))
    found = read(written(tmp_path, interactions_csv=HEAD + rows))
    assert found.dataset.user_ids == kind
    own = dict(zip(found.users["id"], found.users["userid"], strict=True))
    assert [own[each] for each in ids] == numbers


def as_gzip(folder: Path) -> Path:
    path = folder / "interactions.csv"
    (folder / "interactions.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return folder


def as_parquet(folder: Path) -> Path:
    frame = pd.read_csv(folder / "interactions.csv")
    at = pd.to_datetime(frame["at"], format="ISO8601", utc=True)
    return in_parquet(folder, customer=frame["customer"], sku=frame["sku"], at=at)


def as_zip(folder: Path) -> Path:
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("dataset.toml", "interactions.csv"):
            archive.write(folder / name, f"deep/{name}")
    return path


def with_mixed_ends(folder: Path) -> Path:
    rows = ROWS.replace("\n", "\r\n", 2)
    (folder / "interactions.csv").write_bytes(rows.encode())
    return folder


def with_a_mark(folder: Path) -> Path:
    (folder / "dataset.toml").write_text(SHOP, encoding="utf-8-sig")
    return folder


@pytest.mark.parametrize(
    "form", [as_gzip, as_parquet, as_zip, with_mixed_ends, with_a_mark]
)
def test_every_form_reads_the_same(
    tmp_path: Path, form: Callable[[Path], Path]
) -> None:
    expected = read(written(tmp_path / "plain"))
    found = read(form(written(tmp_path / "other")))
    assert found.dataset == expected.dataset
    assert same(found, expected)


def test_ids_of_other_types_are_read_as_written(tmp_path: Path) -> None:
    """Whole numbers stay whole where an empty cell makes pandas read floats; times may be dates."""
    days = pd.to_datetime(["2024-01-01", "2024-01-03"]).date
    sku = pa.array(["a", "b"]).dictionary_encode()
    found = read(in_parquet(tmp_path, customer=[7.0, 8.0], sku=sku, at=days))
    assert found.users["id"].tolist() == ["7", "8"]
    assert found.ratings["timestamp"].tolist() == [1704067200, 1704240000]
    place = r"interactions\.parquet, row 2, column 'customer': "
    with pytest.raises(StepError, match=place):
        read(in_parquet(tmp_path, customer=[7.0, None], at=days))


def test_finer_times_than_seconds_keep_their_order(tmp_path: Path) -> None:
    rows = f"{HEAD}1,1,1700000001900\n1,2,1700000001100\n2,3,1700000001500\n"
    declared = SHOP.replace('"iso"', '"ms"')
    found = read(written(tmp_path, declared, interactions_csv=rows))
    assert found.ratings["itemid"].tolist() == [2, 1, 3]
    assert found.ratings["timestamp"].tolist() == [1_700_000_001] * 3


def test_negative_and_many_values_become_levels(tmp_path: Path) -> None:
    values = np.round(np.random.default_rng(0).normal(size=400), 3)
    rows = "".join(f"{n % 7},{n % 11},{n}e6,{v}\n" for n, v in enumerate(values))
    declared = RATED.replace("above = 3", "above = 0.25")
    csv = "customer,sku,at,stars\n" + rows.replace(",399e6,", ",1700000000,")
    found = read(written(tmp_path, declared, interactions_csv=csv))
    levels = found.dataset.levels
    assert 2 <= len(levels) <= 10
    assert list(levels) == sorted(levels)
    liked = found.ratings["rating"] > found.dataset.positive_level
    assert liked.sum() == (values > 0.25).sum()
    assert min(levels) < 0 < max(levels)


def test_half_stars_and_awkward_categories(tmp_path: Path) -> None:
    found = read(half_stars(tmp_path))
    dataset = found.dataset
    assert dataset.levels == tuple(n / 2 for n in range(1, 11))
    assert dataset.positive_level == 7  # above 3.5
    assert (dataset.user_ids, dataset.item_ids) == ("string", "string")
    assert dataset.counts["genres"] == 300
    assert {"映画", "C++", "Sci-Fi: new|old"} <= set(found.items["genres"].explode())
    assert dataset.profile[:2] == dataset.crossed == ("land", "jahre")
    assert set(found.users["land"]) == {"de", "fr", "unknown"}
    years = r"below 2\d|\d\d to \d\d|\d\d or more|unknown"
    assert found.users["jahre"].str.fullmatch(years).all()
    fields = [name for name in dataset.profile if name.startswith("mag_")]
    assert len(set(fields)) == len(fields) == 6
    assert set(found.users[fields].to_numpy().ravel()) == {"yes", "no"}
    (price,) = dataset.numbers
    assert (price.name, price.column, price.unit) == ("Preis", "preis", 0.01)
    assert price.scale == 975
    assert found.items["preis"].max() == 9.75
    without_a_name = found.items["id"] == "t9"
    assert found.items.loc[without_a_name, "title"].tolist() == ["t9"]


STARS = "customer,sku,at,stars\n1,1,1,5\n1,2,2,"
LINE_5 = r"interactions\.csv, line 5"
MISTAKES = {
    # what is there, and what the message names: interactions
    "no such column": (SHOP.replace("customer", "custmer"), ROWS, "'custmer'"),
    "two of a name": (SHOP, ROWS.replace("sku", "customer"), "2 columns 'customer'"),
    "empty": (SHOP, "", r"interactions\.csv"),
    "no row": (SHOP, HEAD, r"interactions\.csv holds no row"),
    "a cell less": (SHOP, ROWS + "u-3,b\n", rf"{LINE_5}: 3 columns .* 2 found"),
    "two more": (SHOP, ROWS + 'u,"b\nb",1,2,"3,4"\n', rf"{LINE_5}: 3 .* 5 found"),
    "three more": (SHOP, ROWS + "u,b,2024,4,5,6\n", rf"{LINE_5}: 3 .* 6 found"),
    "no id": (
        SHOP,
        ROWS + ",b,2024-01-01\n",
        f"{LINE_5}, column 'customer': .*nothing",
    ),
    "no time": (SHOP, ROWS + '"a\nb",b,noon\n', f"{LINE_5}, column 'at': .*'noon'"),
    "no number": (SECONDS, ROWS, "line 2, column 'at': .*\"s\""),
    "a number": (SHOP, ROWS + "u,b,1704067200\n", f"{LINE_5}, column 'at': .*\"iso\""),
    "before 1970": (SHOP, ROWS + "u,b,1969-12-31\n", f"{LINE_5}, column 'at': .*1970"),
    "to come": (SHOP, ROWS + "u,b,2199-12-31\n", f"{LINE_5}, column 'at': .*to now"),
    "not ISO": (SHOP, ROWS + "u,b,11/1/2000\n", f"{LINE_5}, .*'11/1/2000'"),
    "other format": (
        SHOP + 'time_format = "%d.%m.%Y"\n',
        ROWS,
        r"line 2, column 'at': .*%d\.%m\.%Y",
    ),
    "seconds to come": (SECONDS, HEAD + "1,1,1\n1,2,7000000000\n", "line 3, .*'70000"),
    "milliseconds": (SECONDS, HEAD + "1,1,1\n1,2,1700000000000\n", "line 3, .*'17000"),
    "open quote": (SHOP, ROWS + 'u,b,"2024-01-01\nu,b,2024\n', f"{LINE_5}: a quote"),
    "long open quote": (
        SHOP,
        ROWS + '"a\nb",b,2024-01-01\n"u-3,' + "b,2024-01-01\n" * 20_000,
        "line 7: a quote",
    ),
    "no value": (RATED, STARS + "good\n", "line 3, column 'stars': .*'good'"),
    "empty value": (RATED, STARS + "\n", "line 3, column 'stars': .*nothing"),
    "no level": (
        RATED + "levels = [1, 5]\n",
        STARS + "4\n",
        "line 3, column 'stars': one of 1, 5 expected, found '4'",
    ),
    "no items": (LISTED, ROWS, r"holds no items.csv or .*\[items\].*interactions"),
    "one user": (SHOP, HEAD + "u,a,2024-01-01\nu,b,2024-01-02\n", "holds 1 user"),
    "one item": (SHOP, HEAD + "u,a,2024-01-01\nv,a,2024-01-02\n", "holds 1 item"),
    "a long id": (SHOP, HEAD + f"{'u' * 513},a,2024-01-01\n", "at most 512 bytes"),
    "no such file": (PARTS, ROWS, r"holds no log-\*\.csv, which \[interactions\]"),
    # the items
    "an id twice": (LISTED, "name,sku\nA,a\nB,b\nC,a\n", r"items\.csv, line 4, .*'a'"),
    "none": (LISTED, "sku,name\n", r"items\.csv holds no row"),
    "a blank": (LISTED, "sku,name\na,A\nb ,B\n", r"interactions\.csv, line 2, .*'b'"),
    "not listed": (LISTED, "sku,name\na,A\n", r"line 2, .*items\.csv expected, .*'b'"),
}


@pytest.mark.parametrize(
    ("declaration", "content", "message"), MISTAKES.values(), ids=MISTAKES
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, declaration: str, content: str, message: str
) -> None:
    is_items = "name" in content.partition("\n")[0]
    files = {"items_csv" if is_items else "interactions_csv": content}
    with pytest.raises(StepError, match=message) as error:
        read(written(tmp_path, declaration, **files))
    assert "\n" not in str(error.value)


def test_users_who_are_listed_do_not_count_as_users(tmp_path: Path) -> None:
    rows = HEAD + "u,a,2024-01-01\nu,b,2024-01-02\n"
    declared = SHOP + '\n[users]\nid = "customer"\n'
    with pytest.raises(StepError, match="holds 1 user"):
        read(
            written(
                tmp_path, declared, interactions_csv=rows, users_csv="customer\nu\nv\n"
            )
        )


def cut_short(folder: Path, name: str) -> None:
    (folder / "interactions.csv").unlink()
    (folder / name).write_bytes(gzip.compress(ROWS.encode() * 50)[:-20])


def with_bytes(folder: Path, content: bytes) -> None:
    (folder / "interactions.csv").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "dataset.toml").unlink(), "make new-data folder="),
        (
            lambda folder: shutil.copy(
                folder / "interactions.csv", folder / "interactions.parquet"
            ),
            r"holds interactions\.csv and interactions\.parquet: say which",
        ),
        (
            lambda folder: with_bytes(
                folder, ROWS.encode() + b"u,a,2024-01-01\n" * 9_000 + b"u\xff,a,2024\n"
            ),
            r"interactions\.csv, line 9005 is not UTF-8",
        ),
        (
            lambda folder: with_bytes(folder, ROWS.encode("utf-16")),
            r"interactions\.csv, line 1 is not UTF-8",
        ),
        (
            lambda folder: with_bytes(
                folder, ROWS.replace("\n", "\r\n", 2).encode() + b"u,b,noon\n"
            ),
            r"interactions\.csv, line 5, column 'at': .* found 'noon'",
        ),
        (
            lambda folder: cut_short(folder, "interactions.csv.gz"),
            r"interactions\.csv\.gz cannot be read",
        ),
        (
            lambda folder: cut_short(folder, "interactions.parquet"),
            r"interactions\.parquet cannot be read",
        ),
    ],
)
def test_an_unreadable_folder_is_one_sentence(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(written(tmp_path))
    with pytest.raises(StepError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("year", [1969, 2199])
def test_parquet_has_the_same_bounds_of_time(tmp_path: Path, year: int) -> None:
    at = pd.to_datetime(["2024-01-01", f"{year}-01-01"])
    place = rf"interactions\.parquet, row 2, column 'at': .*'{year}"
    with pytest.raises(StepError, match=place):
        read(in_parquet(tmp_path, at=at))


def test_a_user_with_more_events_than_a_person_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MOST_OF_ONE_USER", 500)
    with pytest.raises(StepError, match="customer 'bot' has more than 500 events"):
        read(written(tmp_path, interactions_csv=HEAD + "bot,a,2024-01-01\n" * 501))


@pytest.mark.parametrize(
    ("declared", "cells", "times"),
    [
        ('"s"', ["1700000005", "1700000007"], [1_700_000_005, 1_700_000_007]),
        ('"ms"', ["1700000005000", "1700000007900"], [1_700_000_005, 1_700_000_007]),
        ('"us"', ["1700000005000001", "17e14"], [1_700_000_005, 1_700_000_000]),
        ("%m/%d/%Y", ["11/1/2000", "11/23/2000"], [973036800, 974937600]),
        ("%d/%m/%Y", ["1/11/2000", "23/11/2000"], [973036800, 974937600]),
        (
            "%d.%m.%Y %H:%M",
            ["1.11.2000 10:00", "2.11.2000 09:30"],
            [973072800, 973157400],
        ),
        ("%b %d, %Y", ["Nov 1, 2000", "Nov 2, 2000"], [973036800, 973123200]),
        (
            "%m/%d/%Y %I:%M %p",
            ["11/1/2000 9:05 PM", "11/23/2000 9:05 AM"],
            [973112700, 974970300],
        ),
        ("%Y%m%d", ["20001101", "20001102"], [973036800, 973123200]),
    ],
)
def test_times_by_unit_or_format(
    tmp_path: Path, declared: str, cells: list[str], times: list[int]
) -> None:
    rows = "".join(f'u{n},i{n},"{cell}"\n' for n, cell in enumerate(cells))
    declaration = f'{SHOP}time_format = "{declared}"\n'
    if "%" not in declared:
        declaration = SHOP.replace('"iso"', declared)
    found = read(written(tmp_path, declaration, interactions_csv=HEAD + rows))
    assert found.ratings["timestamp"].tolist() == times


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1_717_171_717 * 10**9 + 1_234] * 2, pa.timestamp("ns", "Asia/Tokyo")),
        pa.array([1_717_171_717] * 2, pa.timestamp("s")),
        pa.array([1_717_171_717] * 2, pa.uint64()),
        pa.array([1_717_171_717.0] * 2, pa.float64()),
        pa.array(["1717171717"] * 2, pa.large_string()),
    ],
    ids=str,
)
def test_times_of_any_type_of_parquet_are_the_same(
    tmp_path: Path, values: pa.Array
) -> None:
    found = read(in_parquet(tmp_path, SECONDS, at=values))
    assert found.ratings["timestamp"].tolist() == [1_717_171_717] * 2


def test_attributes_of_parquet_keep_their_types(tmp_path: Path) -> None:
    """Digits in a column of texts stay texts, lists are lists, decimals of few bytes are those that people write."""
    declared = (
        '[users]\nid = "customer"\nattributes = {zip = "categorical", age = "categorical", tags = "multi-valued"}\n'
        '[items]\nid = "sku"\nattributes = {price = "numeric"}\n'
    )
    folder = written(tmp_path, f"{SHOP}\n{declared}")
    people = {
        "customer": ["u-1", "u-2"],
        "zip": ["10115", "20095"],
        "age": [7, 8],
        "tags": [["x", " y "], None],
    }
    pq.write_table(pa.table(people), folder / "users.parquet")
    prices = pa.array([3.7, 2], pa.float32())
    goods = pa.table({"sku": ["a", "b"], "price": prices})
    pq.write_table(goods, folder / "items.parquet")
    found = read(folder)
    assert found.users.iloc[:, 2:].to_numpy().tolist() == [
        ["10115", 7, "yes", "yes"],
        ["20095", 8, "no", "no"],
    ]
    assert found.items["price"].tolist() == [3.7, 2]
    goods = goods.set_column(1, "price", [[2e15, 1]])
    pq.write_table(goods, folder / "items.parquet")
    with pytest.raises(StepError, match=r"items\.parquet, row 1, column 'price': "):
        read(folder)


def in_parts(folder: Path, *parts: str) -> Path:
    files = {f"log-{number}_csv": HEAD + part for number, part in enumerate(parts)}
    return written(folder, PARTS, **files)


def test_parts_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Events of one second stay in that order."""
    parts = "1,5,9e8\n2,6,9e8\n", "", "1,4,9e8\n1,3,9e8\n"
    found = read(in_parts(tmp_path, *parts)).ratings[["userid", "itemid"]]
    assert found.to_numpy().tolist() == [[1, 5], [1, 4], [1, 3], [2, 6]]


def test_an_invalid_part_is_named(tmp_path: Path) -> None:
    place = r"log-2\.csv, line 3, column 'at': .*'long ago'"
    with pytest.raises(StepError, match=place):
        read(in_parts(tmp_path, "1,5,9e8\n", "", "1,4,9e8\n1,3,long ago\n"))
    (tmp_path / "log-1.csv").write_text("customer,sku\n1,5\n")
    with pytest.raises(StepError, match=r"log-1\.csv has no column 'at'"):
        read(tmp_path)


def test_seconds_declared_as_milliseconds_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = HEAD + "u,a,1704067200\nv,b,1735689600\n"
    settings = Settings(data=tmp_path / "shop", exchange_dir=tmp_path / "exchange")
    written(settings.data, SHOP.replace('"iso"', '"ms"'), interactions_csv=rows)
    with pytest.raises(StepError, match=r"interactions\.csv, column 'at': .* 1970, "):
        s0_get_data.main(settings)
    assert not settings.exchange_dir.exists()
    written(settings.data, SECONDS, interactions_csv=rows)
    s0_get_data.main(settings)
    assert "events from 2024-01-01 to 2025-01-01" in capsys.readouterr().out
