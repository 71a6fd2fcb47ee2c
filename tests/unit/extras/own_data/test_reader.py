from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.own_data import reader
from offline.preprocess import s0_get_data
from tests.datasets import tables_of as read
from tests.made_up_data import SHOP, half_stars

HEAD = "customer,sku,at\n"
ROWS = f"{HEAD}u-1,b,2024-01-01T10:00:00Z\nu-2,a,2024-01-01 11:00\nu-1,a,2024-01-02T00:00:00.5+01:00\n"
MIXED_ENDS = ROWS.replace("\n", "\r\n", 2).encode()
SECONDS = SHOP.replace('"iso"', '"s"')
RATED = SECONDS + 'value = "stars"\npositive_above = 3\n'
LISTED = SHOP + '\n[items]\nid = "sku"\ntitle = "name"\n'


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


def refused(folder: Path, message: str) -> None:
    with pytest.raises(StepError, match=message) as error:
        read(folder)
    assert "\n" not in str(error.value)


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
        (["10", "9", str(2**31)], "string", [2, 1, 3]),
        (["07", "3", "x"], "string", [2, 1, 3]),
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


def test_every_form_reads_the_same(tmp_path: Path) -> None:
    expected = read(written(tmp_path))
    forms = [tmp_path / "data.zip"]
    with zipfile.ZipFile(forms[0], "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("dataset.toml", "interactions.csv"):
            archive.write(tmp_path / name, f"deep/{name}")

    for name, content in (
        ("interactions.csv.gz", gzip.compress(ROWS.encode(), mtime=0)),
        ("interactions.csv", MIXED_ENDS),
    ):
        forms.append(tmp_path / f"in-{len(forms)}")
        forms[-1].mkdir()
        (forms[-1] / name).write_bytes(content)
        # with a byte order mark
        (forms[-1] / "dataset.toml").write_text(SHOP, encoding="utf-8-sig")

    columns = pd.read_csv(tmp_path / "interactions.csv")
    columns["at"] = pd.to_datetime(columns["at"], format="ISO8601", utc=True)
    forms.append(in_parquet(tmp_path / "parquet", **columns))
    for form in forms:
        found = read(form)
        assert found.dataset == expected.dataset
        for one, other in zip(found[1:], expected[1:], strict=True):
            pd.testing.assert_frame_equal(one, other)


def test_ids_of_other_types_are_read_as_written(tmp_path: Path) -> None:
    """Whole numbers stay whole where an empty cell makes pandas read floats; times may be dates."""
    days = pd.to_datetime(["2024-01-01", "2024-01-03"]).date
    sku = pa.array(["a", "b"]).dictionary_encode()
    found = read(in_parquet(tmp_path, customer=[7.0, 8.0], sku=sku, at=days))
    assert found.users["id"].tolist() == ["7", "8"]
    assert found.ratings["timestamp"].tolist() == [1704067200, 1704240000]
    place = r"interactions\.parquet, row 2, column "
    refused(in_parquet(tmp_path, customer=[7.0, None], at=days), f"{place}'customer'")
    at = pd.to_datetime(["2024-01-01", "2199-01-01"])
    refused(in_parquet(tmp_path, at=at), f"{place}'at': .*'2199")
    for cells in ([{"a": 1}, {"a": 2}], [["a"], ["b"]]):
        refused(in_parquet(tmp_path, customer=cells, at=days), "column 'customer'")


def test_finer_times_than_seconds_keep_their_order(tmp_path: Path) -> None:
    rows = f"{HEAD}1,1,1700000001900\n1,2,1700000001100\n2,3,1700000001500\n"
    declared = SHOP.replace('"iso"', '"ms"')
    found = read(written(tmp_path, declared, interactions_csv=rows))
    assert found.ratings["itemid"].tolist() == [2, 1, 3]
    assert found.ratings["timestamp"].tolist() == [1_700_000_001] * 3


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


ADDED = {
    # a line after three rows, and what the message names
    "u-3,b\n": ": 3 columns .* 2 found",
    'u,"b\nb",1,2,"3,4"\n': ": 3 .* 5 found",
    ",b,2024-01-01\n": ", column 'customer': .*nothing",
    '"a\nb",b,noon\n': ", column 'at': .*'noon'",
    "u,b,1704067200\n": ", column 'at': .*\"iso\"",
    "u,b,1969-12-31\n": ", column 'at': .*1970",
    "u,b,2199-12-31\n": ", column 'at': .*to now",
    "u,b,11/1/2000\n": ", .*'11/1/2000'",
    'u,b,"2024-01-01\nu,b,2024\n': ": a quote",
}


@pytest.mark.parametrize(("line", "message"), ADDED.items())
def test_a_mistake_in_a_line_names_the_line(
    tmp_path: Path, line: str, message: str
) -> None:
    message = rf"interactions\.csv, line 5{message}"
    refused(written(tmp_path, interactions_csv=ROWS + line), message)


STARS = "customer,sku,at,stars\n1,1,1,5\n1,2,2,"
FORMAT = SHOP + 'time_format = "%d.%m.%Y"\n'
USER_LISTED = '[users]\nfile = "users.csv"\nid = "customer"\n'
LONG = '"a\nb",b,2024-01-01\n"u-3,' + "b,2024-01-01\n" * 20_000
MISTAKES = [
    # what is there, and what the message names: interactions
    (SHOP.replace("customer", "custmer"), ROWS, "'custmer'"),
    (SHOP, ROWS.replace("sku", "customer"), "2 columns 'customer'"),
    (SHOP, "", r"interactions\.csv"),
    (SHOP, HEAD, r"interactions\.csv holds no row"),
    (SECONDS, ROWS, "line 2, column 'at': .*\"s\""),
    (FORMAT, ROWS, r"line 2, column 'at': .*%d\.%m\.%Y"),
    (SECONDS, HEAD + "1,1,1\n1,2,1700000000000\n", "line 3, .*'17000"),
    (SHOP, ROWS + LONG, "line 7: a quote"),
    (RATED, STARS + "good\n", "line 3, column 'stars': .*'good'"),
    (RATED, STARS + "\n", "line 3, column 'stars': .*nothing"),
    (LISTED, ROWS, r"\[items\] .* items.csv or .* holds .*interactions"),
    (SHOP, HEAD + "u,a,2024-01-01\nu,b,2024-01-02\n", "holds 1 user"),
    (SHOP, HEAD + "u,a,2024-01-01\nv,a,2024-01-02\n", "holds 1 item"),
    (SHOP, HEAD + f"{'u' * 513},a,2024-01-01\n", "at most 512 bytes"),
    # a user who is listed and does nothing does not count
    (SHOP + USER_LISTED, HEAD + "u,a,2024-01-01\nu,b,2024-01-02\n", "holds 1 user"),
    # the items
    (LISTED, "name,sku\nA,a\nB,b\nC,a\n", r"items\.csv, line 4, .*'a'"),
    (LISTED, "sku,name\n", r"items\.csv holds no row"),
    (LISTED, "sku,name\na,A\nb ,B\n", r"interactions\.csv, line 2, .*'b'"),
    (LISTED, "sku,name\na,A\n", r"line 2, .*items\.csv expected, .*'b'"),
]


@pytest.mark.parametrize(("declaration", "content", "message"), MISTAKES)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, declaration: str, content: str, message: str
) -> None:
    file = "items_csv" if "name" in content[:9] else "interactions_csv"
    files = {"users_csv": "customer\nu\nv\n", file: content}
    refused(written(tmp_path, declaration, **files), message)


CUT = gzip.compress(ROWS.encode() * 50, mtime=0)[:-20]
LATIN = ROWS.encode() + b"u,a,2024-01-01\n" * 9_000 + b"u\xff,a,2024\n"


def test_no_declaration_and_two_files_of_a_table(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "interactions.parquet").touch()
    refused(folder, r"one file, .* holds interactions\.csv, interactions\.parquet\.")
    (folder / "dataset.toml").unlink()
    refused(folder, "make new-data folder=")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("csv", LATIN, ", line 9005 is not UTF-8"),
        ("csv", ROWS.encode("utf-16"), ", line 1 is not UTF-8"),
        ("csv", MIXED_ENDS + b"u,b,noon\n", ", line 5, column 'at': .* found 'noon'"),
        ("csv.gz", CUT, " cannot be read"),
        ("parquet", CUT, " cannot be read"),
    ],
)
def test_an_unreadable_file_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    folder = written(tmp_path)
    (folder / "interactions.csv").unlink()
    (folder / f"interactions.{name}").write_bytes(content)
    refused(folder, rf"interactions\.{name}{message}")


def test_a_user_with_more_events_than_a_person_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MOST_OF_ONE_USER", 500)
    folder = written(tmp_path, interactions_csv=HEAD + "bot,a,2024-01-01\n" * 501)
    refused(folder, "customer 'bot' has more than 500 events")


@pytest.mark.parametrize(
    ("declared", "cell", "time"),
    [
        ("s", "1700000005", 1_700_000_005),
        ("us", "1700000005000001", 1_700_000_005),
        ("us", "17e14", 1_700_000_000),
        ("%m/%d/%Y", "11/23/2000", 974937600),
        ("%d.%m.%Y %H:%M", "2.11.2000 09:30", 973157400),
        ("%m/%d/%Y %I:%M %p", "11/23/2000 9:05 AM", 974970300),
    ],
)
def test_times_by_unit_or_format(
    tmp_path: Path, declared: str, cell: str, time: int
) -> None:
    rows = f'{HEAD}u,a,"{cell}"\nv,b,"{cell}"\n'
    declaration = f'{SHOP}time_format = "{declared}"\n'
    if "%" not in declared:
        declaration = SHOP.replace("iso", declared)
    found = read(written(tmp_path, declaration, interactions_csv=rows))
    assert found.ratings["timestamp"].tolist() == [time] * 2


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1_717_171_717 * 10**9 + 1_234] * 2, pa.timestamp("ns", "Asia/Tokyo")),
        pa.array([1_717_171_717] * 2, pa.timestamp("s")),
        pa.array([1_717_171_717] * 2, pa.uint64()),
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
    """Lists are lists, decimals of few bytes are those that people write."""
    declared = (
        '[users]\nid = "customer"\nattributes = {age = "categorical", tags = "multi-valued"}\n'
        '[items]\nid = "sku"\nattributes = {price = "numeric"}\n'
    )
    folder = written(tmp_path, f"{SHOP}\n{declared}")
    people = {
        "customer": ["u-1", "u-2"],
        "age": [7, 8],
        "tags": [["x", " y "], None],
    }
    pq.write_table(pa.table(people), folder / "users.parquet")
    prices = pa.array([3.7, 2], pa.float32())
    goods = pa.table({"sku": ["a", "b"], "price": prices})
    pq.write_table(goods, folder / "items.parquet")
    found = read(folder)
    profiles = found.users.iloc[:, 2:].to_numpy().tolist()
    assert profiles == [[7, "yes", "yes"], [8, "no", "no"]]
    assert found.items["price"].tolist() == [3.7, 2]
    goods = goods.set_column(1, "price", [[2e15, 1]])
    pq.write_table(goods, folder / "items.parquet")
    refused(folder, r"items\.parquet, row 1, column 'price': ")


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
