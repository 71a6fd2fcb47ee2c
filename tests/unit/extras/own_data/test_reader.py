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
from offline.movielens import files_of
from offline.preprocess import s0_get_data
from tests.datasets import tables_of as read
from tests.made_up_data import SHOP, half_stars

ROWS = "customer,sku,at\nu-1,b,2024-01-01T10:00:00Z\nu-2,a,2024-01-01 11:00\nu-1,a,2024-01-02T00:00:00.5+01:00\n"
RATED = SHOP.replace('time_unit = "iso"', 'value = "stars"\npositive_above = 3')
LISTED = SHOP + '\n[items]\nid = "sku"\ntitle = "name"\n'


def written(folder: Path, declaration: str = SHOP, **files: str) -> Path:
    """``items_csv="..."`` is the content of items.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.toml").write_text(declaration)
    for name, content in ({"interactions_csv": ROWS} | files).items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def in_parquet(folder: Path, table: pd.DataFrame | pa.Table) -> Path:
    """Interactions in Parquet instead of those in CSV. Returns ``folder``."""
    (folder / "interactions.csv").unlink(missing_ok=True)
    table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    pq.write_table(table, folder / "interactions.parquet")
    return folder


def test_a_shop_has_numbers_for_its_ids(tmp_path: Path) -> None:
    found = read(written(tmp_path))
    assert found.users.to_numpy().tolist() == [[1, "u-1"], [2, "u-2"]]
    assert found.items[["itemid", "id", "title"]].to_numpy().tolist() == [
        [1, "a", "a"],
        [2, "b", "b"],
    ]
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
    found = read(written(tmp_path, interactions_csv="customer,sku,at\n" + rows))
    assert found.dataset.user_ids == kind
    own = dict(zip(found.users["id"], found.users["userid"], strict=True))
    assert [own[each] for each in ids] == numbers


@pytest.mark.parametrize("form", ["gz", "parquet", "zip"])
def test_every_form_reads_the_same(tmp_path: Path, form: str) -> None:
    expected = read(written(tmp_path / "plain"))
    folder = written(tmp_path / "other")
    path = folder / "interactions.csv"
    if form == "gz":
        (folder / "interactions.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    elif form == "parquet":
        frame = pd.read_csv(path)
        in_parquet(
            folder,
            frame.assign(at=pd.to_datetime(frame["at"], format="ISO8601", utc=True)),
        )
    else:
        folder = tmp_path / "data.zip"
        with zipfile.ZipFile(folder, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in (tmp_path / "other").iterdir():
                archive.write(file, f"deep/{file.name}")
    found = read(folder)
    assert found.dataset == expected.dataset
    for name in ("ratings", "users", "items"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name))


def test_ids_of_other_types_are_read_as_written(tmp_path: Path) -> None:
    """Whole numbers stay whole where an empty cell makes pandas read floats; times may be dates."""
    frame = pd.DataFrame({"customer": [7.0, 8.0, 7.0], "sku": ["a", "b", "b"]}).astype(
        {"sku": "category"}
    )
    frame["at"] = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]).date
    found = read(in_parquet(written(tmp_path), frame))
    assert found.users["id"].tolist() == ["7", "8"]
    assert found.ratings["timestamp"].tolist() == [1704067200, 1704240000, 1704153600]
    frame.loc[1, "customer"] = None
    with pytest.raises(
        StepError,
        match=r"interactions\.parquet, row 2, column 'customer': an id expected, found noth",
    ):
        read(in_parquet(tmp_path, frame))


def test_finer_times_than_seconds_keep_their_order(tmp_path: Path) -> None:
    rows = "customer,sku,at\n1,1,1700000001900\n1,2,1700000001100\n2,3,1700000001500\n"
    found = read(
        written(tmp_path, SHOP.replace('"iso"', '"ms"'), interactions_csv=rows)
    )
    assert found.ratings["itemid"].tolist() == [2, 1, 3]
    assert found.ratings["timestamp"].tolist() == [1_700_000_001] * 3


def test_negative_and_many_values_become_levels(tmp_path: Path) -> None:
    values = np.round(np.random.default_rng(0).normal(size=400), 3)
    rows = "".join(
        f"{n % 7},{n % 11},2024-01-01T00:00:00.{n:03d}Z,{value}\n"
        for n, value in enumerate(values)
    )
    toml = SHOP + 'value = "stars"\npositive_above = 0.25\n'
    found = read(
        written(tmp_path, toml, interactions_csv="customer,sku,at,stars\n" + rows)
    )
    levels = found.dataset.levels
    assert 2 <= len(levels) <= 10
    assert list(levels) == sorted(levels)
    assert (found.ratings["rating"] > found.dataset.positive_level).sum() == (
        values > 0.25
    ).sum()
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
    assert (
        found.users["jahre"]
        .str.fullmatch(r"below 2\d|\d\d to \d\d|\d\d or more|unknown")
        .all()
    )
    fields = [name for name in dataset.profile if name.startswith("mag_")]
    assert len(set(fields)) == len(fields) == 6
    assert set(found.users[fields].to_numpy().ravel()) == {"yes", "no"}
    (price,) = dataset.numbers
    assert (price.name, price.column, price.unit, price.scale) == (
        "Preis",
        "preis",
        0.01,
        975,
    )
    assert found.items["preis"].max() == 9.75
    # it has no name
    assert (found.items.loc[found.items["id"] == "t9", "title"] == "t9").all()


HEAD, IN_SECONDS = "customer,sku,at\n", SHOP.replace('"iso"', '"s"')
PEOPLE = SHOP + '\n[users]\nid = "customer"\n'
STARS = "customer,sku,at,stars\n1,1,1,5\n1,2,2,"
OF_FIVE = RATED.replace("positive_above = 3", "positive_above = 3\nlevels = [1, 5]")
ALONE = HEAD + "u,a,2024-01-01\nu,b,2024-01-02\n"


@pytest.mark.parametrize(
    ("declaration", "files", "message"),
    [
        (
            SHOP.replace('"customer"', '"custmer"'),
            ROWS,
            "s.csv has no column 'custmer'; .*'customer' meant",
        ),
        (SHOP, "", r"interactions\.csv is empty"),
        (SHOP, HEAD, r"interactions\.csv holds no row"),
        (SHOP, ROWS + "u-3,b\n", r"line 5: 3 columns expected, .* 2 found in 'u-3,b'"),
        (
            SHOP,
            ROWS + 'u-3,"b\nb",1,2,"3,4"\n',
            r"line 5: 3 columns expected, .* 5 found in 'u-3",
        ),
        (
            SHOP,
            ROWS + "u-3,b,2024-01-01,4,5,6\n",
            r"line 5: 3 columns expected, .* 6 found in 'u-3",
        ),
        (SHOP, ROWS + ",b,2024-01-01\n", "line 5, column 'customer': an id .* nothing"),
        (
            SHOP,
            ROWS + '"a\nb",b,noon\n',
            "line 5, column 'at': an ISO 8601 .* found 'noon'",
        ),
        (
            IN_SECONDS,
            ROWS,
            "line 2, column 'at': seconds since 1970 .*0Z', .* \"iso\" would fit",
        ),
        (
            SHOP,
            ROWS + "u,b,1704067200\n",
            'line 5, .* an ISO 8601 .*, which .* "s" would fit',
        ),
        (
            SHOP,
            ROWS + "u,b,1969-12-31\n",
            "line 5, column 'at': a time since 1970 expected, fo",
        ),
        (
            SHOP,
            ROWS + "u,b,2199-12-31\n",
            "line 5, column 'at': a time that is not in the fut",
        ),
        (
            SHOP,
            ROWS + "u,b,11/1/2000\n",
            "line 5, .* an ISO 8601 .* found '11/1/2000'; .* time_format = ",
        ),
        (
            SHOP + 'time_format = "%d.%m.%Y"\n',
            ROWS,
            'line 2, .* a time like time_format = "%d.%m.%Y" expected',
        ),
        (
            IN_SECONDS,
            HEAD + "1,1,1700000000\n1,2,7000000000\n",
            "line 3, .* not in the future expected, found '70000",
        ),
        (
            IN_SECONDS,
            HEAD + "1,1,1\n1,2,1700000000000\n",
            "found '1700000000000', which .* \"ms\" would fit\\.",
        ),
        (
            SHOP,
            "at," + ROWS.replace("\n", "\nx,").removesuffix("x,"),
            "has 2 columns 'at': give",
        ),
        (
            SHOP,
            ROWS + 'u-3,b,"2024-01-01\nu-4,b,2024-01-01\n',
            "line 5: a quote is not closed",
        ),
        (
            SHOP,
            ROWS + '"a\nb",b,2024-01-01\n"u-3,' + "b,2024-01-01\n" * 20_000,
            "line 7: a quote is not closed",
        ),
        (RATED, STARS + "good\n", "line 3, column 'stars': a number"),
        (RATED, STARS + "\n", "line 3, column 'stars': a number .* nothing"),
        (
            OF_FIVE,
            STARS + "4\n",
            "line 3, column 'stars': one of 1, 5 expected, found '4'",
        ),
        (
            LISTED,
            ROWS,
            r"holds no items.csv or items.csv.gz or .*\[items\].*; it holds interactions",
        ),
        (SHOP, ALONE, "holds 1 user"),
        (SHOP, HEAD + "u,a,2024-01-01\nv,a,2024-01-02\n", "holds 1 item"),
        (SHOP, HEAD + f"{'u' * 513},a,2024-01-01\n", "at most 512 bytes"),
        (
            SHOP.replace("[interactions]", '[interactions]\nfile = "log.csv"'),
            ROWS,
            r"holds no log\.csv",
        ),
        (
            LISTED,
            {"items_csv": "sku,name\na,A\nb,B\na,C\n"},
            "line 4, .* 'a' is there already, in items.csv, line 2",
        ),
        (
            LISTED,
            {"items_csv": "sku,name\n"},
            r"items\.csv holds no row under its header: a row for every id",
        ),
        (
            LISTED,
            {"items_csv": "sku,name\na,A\nb ,B\n"},
            r"listed in items\.csv expected, found 'b'; 'b ' is listed",
        ),
        (
            LISTED,
            {"items_csv": "sku,name\na,A\n"},
            "line 2, .* an id that is listed in items.csv expected, found 'b'",
        ),
        (
            PEOPLE,
            {"interactions_csv": ALONE, "users_csv": "customer\nu\nv\n"},
            "s.csv holds 1 user; at least 2",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, declaration: str, files: str | dict[str, str], message: str
) -> None:
    """Where there is one file, it is the interactions."""
    with pytest.raises(StepError, match=message) as error:
        read(
            written(
                tmp_path,
                declaration,
                **(files if isinstance(files, dict) else {"interactions_csv": files}),
            )
        )
    assert "\n" not in str(error.value)


def cut_short(folder: Path, name: str) -> None:
    (folder / "interactions.csv").unlink()
    (folder / name).write_bytes(gzip.compress(ROWS.encode() * 50)[:-20])


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
            lambda folder: (folder / "interactions.csv").write_bytes(
                ROWS.encode() + b"u\xff,a,2024-01-01\n"
            ),
            r"interactions\.csv, line 5 is not UTF-8: save the file as UTF-8",
        ),
        (
            lambda folder: (folder / "interactions.csv").write_text(
                ROWS, encoding="utf-16"
            ),
            r"interactions\.csv, line 1 is not UTF-8",
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


def test_bytes_that_are_no_text_are_named_within_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("dataset.toml", SHOP)
        archive.writestr(
            "interactions.csv",
            ROWS.encode() + b"u,a,2024-01-01\n" * 9_000 + b"u\xff,a,2024-01-01\n",
        )
    with pytest.raises(StepError, match=r"interactions\.csv, line 9005 is not UTF-8"):
        read(tmp_path / "data.zip")


def test_lines_may_end_in_several_ways(tmp_path: Path) -> None:
    rows = ROWS.replace("\n", "\r\n", 2)
    folder = written(tmp_path / "mixed")
    (folder / "interactions.csv").write_bytes(rows.encode())
    assert read(folder).ratings.equals(read(written(tmp_path / "even")).ratings)
    (folder / "interactions.csv").write_bytes(rows.encode() + b"u,b,noon\n")
    with pytest.raises(
        StepError, match=r"interactions\.csv, line 5, column 'at': .* found 'noon'"
    ):
        read(folder)


def test_parquet_has_the_same_bounds_of_time(tmp_path: Path) -> None:
    for year, message in ((1969, "a time since 1970"), (2199, "not in the future")):
        at = pd.to_datetime(["2024-01-01", f"{year}-01-01"])
        frame = pd.DataFrame({"customer": ["u", "v"], "sku": ["a", "b"], "at": at})
        with pytest.raises(
            StepError, match=rf"interactions\.parquet, row 2, column 'at': .*{message}"
        ):
            read(in_parquet(written(tmp_path), frame))


def test_a_declaration_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "dataset.toml").write_text(SHOP, encoding="utf-8-sig")
    assert read(folder).dataset.name == "shop"


def test_a_user_with_more_events_than_a_person_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MOST_OF_ONE_USER", 500)
    with pytest.raises(StepError, match="customer 'bot' has more than 500 events"):
        read(written(tmp_path, interactions_csv=HEAD + "bot,a,2024-01-01\n" * 501))


def with_format(form: str) -> str:
    return f'{SHOP}time_format = "{form}"\n'


@pytest.mark.parametrize(
    ("declaration", "cells", "times"),
    [
        (IN_SECONDS, ["1700000005", "1700000007"], [1_700_000_005, 1_700_000_007]),
        (
            SHOP.replace("iso", "ms"),
            ["1700000005000", "1700000007900"],
            [1_700_000_005, 1_700_000_007],
        ),
        (
            SHOP.replace("iso", "us"),
            ["1700000005000001", "1700000007999999"],
            [1_700_000_005, 1_700_000_007],
        ),
        (with_format("%m/%d/%Y"), ["11/1/2000", "11/23/2000"], [973036800, 974937600]),
        (with_format("%d/%m/%Y"), ["1/11/2000", "23/11/2000"], [973036800, 974937600]),
        (
            with_format("%d.%m.%Y %H:%M"),
            ["1.11.2000 10:00", "2.11.2000 09:30"],
            [973072800, 973157400],
        ),
        (
            with_format("%b %d, %Y"),
            ["Nov 1, 2000", "Nov 2, 2000"],
            [973036800, 973123200],
        ),
        (
            with_format("%m/%d/%Y %I:%M %p"),
            ["11/1/2000 9:05 PM", "11/23/2000 9:05 AM"],
            [973112700, 974970300],
        ),
        (with_format("%Y%m%d"), ["20001101", "20001102"], [973036800, 973123200]),
    ],
)
def test_times_by_unit_or_format(
    tmp_path: Path, declaration: str, cells: list[str], times: list[int]
) -> None:
    rows = "".join(f'u{n},i{n},"{cell}"\n' for n, cell in enumerate(cells))
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
    folder = written(tmp_path, SHOP.replace('"iso"', '"s"'))
    table = pa.table({"customer": ["u", "v"], "sku": ["a", "b"], "at": values})
    assert (
        read(in_parquet(folder, table)).ratings["timestamp"].tolist()
        == [1_717_171_717] * 2
    )


def test_attributes_of_parquet_keep_their_types(tmp_path: Path) -> None:
    """Digits in a column of texts stay texts, lists are lists, decimals of few bytes are those that people write."""
    declared = (
        '[users]\nid = "customer"\nattributes = {zip = "categorical", age = "categorical", tags = "multi-valued"}\n'
        '[items]\nid = "sku"\nattributes = {price = "numeric"}\n'
    )
    people = {
        "customer": ["u-1", "u-2"],
        "zip": ["10115", "20095"],
        "age": [7, 8],
        "tags": [["x", "y"], None],
    }
    pq.write_table(
        pa.table(people), written(tmp_path, f"{SHOP}\n{declared}") / "users.parquet"
    )
    prices = pa.array([3.7, 2], pa.float32())
    pq.write_table(
        pa.table({"sku": ["a", "b"], "price": prices}), tmp_path / "items.parquet"
    )
    found = read(tmp_path)
    assert found.users[["zip", "age"]].to_numpy().tolist() == [
        ["10115", 7],
        ["20095", 8],
    ]
    assert found.users[["tags_x", "tags_y"]].to_numpy().tolist() == [
        ["yes", "yes"],
        ["no", "no"],
    ]
    assert found.items["price"].tolist() == [3.7, 2]
    pq.write_table(
        pa.table({"sku": ["a", "b"], "price": [2e15, 1]}), tmp_path / "items.parquet"
    )
    with pytest.raises(
        StepError,
        match=r"items\.parquet, row 1, column 'price': a number of at most 1e\+15",
    ):
        read(tmp_path)


DECLARED = """\
name = "parts"
[interactions]
file = "log-*.csv"
user = "u"
item = "i"
time = "t"
"""


def in_parts(folder: Path, *parts: str) -> Path:
    for number, content in enumerate(parts):
        (folder / f"log-{number}.csv").write_text(content)
    (folder / "dataset.toml").write_text(DECLARED)
    return folder


def test_parts_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Events of one second stay in that order."""
    parts = (
        "u,i,t\n1,5,900000000\n2,6,900000000\n",
        "u,i,t\n",
        "u,i,t\n1,4,900000000\n1,3,900000000\n",
    )
    found = read(in_parts(tmp_path, *parts)).ratings
    assert found[["userid", "itemid"]].to_numpy().tolist() == [
        [1, 5],
        [1, 4],
        [1, 3],
        [2, 6],
    ]


GOOD = "u,i,t\n1,5,900000000\n2,6,900000000\n"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [GOOD, GOOD, f"{GOOD}3,7,long ago\n"],
            r"log-2\.csv, line 4, column 't': seconds since 1970 .* 'long ago'",
        ),
        ([GOOD, "u,i\n1,5\n"], r"log-1\.csv has no column 't'"),
        ([], r"holds no log-\*\.csv, which \[interactions\]"),
    ],
)
def test_an_invalid_part_is_explained(
    tmp_path: Path, parts: list[str], message: str
) -> None:
    with pytest.raises(StepError, match=message):
        read(in_parts(tmp_path, *parts))


def shop_of(folder: Path, unit: str) -> Settings:
    data = folder / "shop"
    data.mkdir()
    (data / "dataset.toml").write_text(SHOP.replace('"iso"', f'"{unit}"'))
    (data / "interactions.csv").write_text(
        "customer,sku,at\nu,a,1704067200\nv,b,1735689600\n"
    )
    return Settings(data=data, exchange_dir=folder / "exchange")


def test_seconds_declared_as_milliseconds_are_refused(tmp_path: Path) -> None:
    message = r"interactions\.csv, column 'at': the newest time is in 1970, .* = \"ms\": is .*\"s\" meant"
    with pytest.raises(StepError, match=message):
        s0_get_data.main(shop_of(tmp_path, "ms"))
    assert not (tmp_path / "exchange").exists()


def test_the_first_step_says_which_times_it_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    s0_get_data.main(shop_of(tmp_path, "s"))
    printed = capsys.readouterr().out
    assert "events from 2024-01-01 to 2025-01-01" in printed
    assert "published figures" not in printed


def test_of_two_files_with_one_name_the_first_in_order_is_taken(tmp_path: Path) -> None:
    folder, archive = tmp_path / "folder", tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("b/x.csv", "a/x.csv", "c/x.csv", "a-b/x.csv"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(name)
            file.write(folder / name, name)
    for path in (folder, archive):
        with files_of(path) as files:
            assert files["x.csv"].read_text() == "a/x.csv"
