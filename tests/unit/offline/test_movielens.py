import math
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_exchange_center.steps import StepError
from offline import movielens
from offline.movielens import LAYOUTS
from tests.datasets import Tables, tables_of
from tests.unit.offline.synthetic import made_up_movielens

ML_1M, GROUPLENS, RECBOLE = LAYOUTS
RATINGS = b"1::10::5::978300760\n1::20::3::978300761\n2::10::1::978300762\n"
USERS = b"1::F::1::10::48067\n2::M::56::16::70072\n"
MOVIES = "10::Star Wars: Episode IV (1977)::Action|Sci-Fi\n20::Misérables, Les (1995)::Drama\n".encode(
    "latin-1"
)


def test_the_three_files_are_read() -> None:
    data = movielens.parse(ML_1M, RATINGS, USERS, MOVIES)
    assert data.ratings.to_numpy().tolist() == [
        [1, 10, 5, 978300760],
        [1, 20, 3, 978300761],
        [2, 10, 1, 978300762],
    ]
    assert data.ratings.dtypes.astype(str).tolist() == [
        "int32",
        "int32",
        "int8",
        "int64",
    ]
    assert data.users.to_numpy().tolist() == [[1, "F", 1, "10"], [2, "M", 56, "16"]]
    assert data.items.to_numpy().tolist() == [
        [10, "Star Wars: Episode IV (1977)", ["Action", "Sci-Fi"]],
        [20, "Misérables, Les (1995)", ["Drama"]],
    ]


MALFORMED = {
    r"ratings\.dat, line 2: userid, itemid, a rating of 1 to 5": (
        b"1::10::5",
        b"1::10::6::978300760",
        b"1::10::0::978300760",
        b"1::10::4.5::978300760",
        b"x::10::5::978300760",
        b"-1::10::5::978300760",
        b"1:10:5:978300760",
        b"1::10::5::978300760::9",
        b"1::99999999999::5::978300760",
        b"1::10::5::",
        b"1::10::\xff::978300760",
        b"1::1\x000::5::978300760",
        b"",
    ),
    r"users\.dat, line 2": (b"1::F::old::10::48067", b"1::F::1", b"::F::1::10::1", b""),
    r"movies\.dat, line 2": (b"Toy Story::Drama", b"1::Toy Story", b"1::::Drama", b""),
}


@pytest.mark.parametrize(
    ("file", "message", "bad"),
    [
        (file, message, bad)
        for file, (message, lines) in enumerate(MALFORMED.items())
        for bad in lines
    ],
)
def test_a_malformed_line_is_named(file: int, message: str, bad: bytes) -> None:
    contents = [RATINGS, USERS, MOVIES]
    first, *others = contents[file].splitlines(keepends=True)
    contents[file] = b"".join([first, bad + b"\n", *others])
    with pytest.raises(StepError, match=message):
        movielens.parse(ML_1M, *contents)


@pytest.mark.parametrize("empty", [b"", b"\n\n", b"  "])
def test_an_empty_file_is_named(empty: bytes) -> None:
    for at, name in enumerate(ML_1M.files):
        contents = [RATINGS, USERS, MOVIES]
        contents[at] = empty
        with pytest.raises(StepError, match=f"{name} is empty"):
            movielens.parse(ML_1M, *contents)


def ingested(folder: Path, *contents: bytes) -> Tables:
    for name, content in zip(ML_1M.files, contents, strict=True):
        (folder / name).write_bytes(content)
    return tables_of(folder)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            (b"3::10::5::1\n", b"", b""),
            r"ratings\.dat, line 4: a userid that is listed in users\.dat .* found '3'",
        ),
        (
            (b"2::30::5::1\n", b"", b""),
            "line 4: a itemid that is listed in movies.dat expected, found '30'",
        ),
        (
            (b"", USERS, b""),
            "users.dat, line 3: a userid that is not there already expected, found '1'",
        ),
        (
            (b"", b"", MOVIES),
            "movies.dat, line 3: a itemid that is not there already expected, found '10'",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    tmp_path: Path, more: tuple[bytes, bytes, bytes], message: str
) -> None:
    with pytest.raises(StepError, match=message):
        ingested(tmp_path, RATINGS + more[0], USERS + more[1], MOVIES + more[2])


def test_no_genres_listed_is_no_genre() -> None:
    assert movielens.parse(ML_1M, RATINGS, USERS, b"1::A::(no genres listed)\n").items[
        "genres"
    ].tolist() == [[]]


def test_a_folder_and_a_zip_are_searched_at_any_depth(tmp_path: Path) -> None:
    folder = made_up_movielens(tmp_path / "deep" / "er" / "ml")
    archive = tmp_path / "any.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.iterdir():
            file.write(path, f"a/b/{path.name}")
    one, other = (tables_of(path) for path in (archive, tmp_path / "deep"))
    assert one.ratings.equals(other.ratings)


def test_missing_or_foreign_data_is_a_one_sentence_error(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(StepError, match="does not exist"):
        tables_of(tmp_path / "nowhere")
    with pytest.raises(StepError, match="not a whole zip"):
        tables_of(tmp_path / "broken.zip")
    with pytest.raises(StepError, match="holds no data set"):
        tables_of(tmp_path)


def test_100k_reads_the_same_from_both_of_its_layouts() -> None:
    flags = dict.fromkeys(movielens.FLAGS.split("|"), "0")
    action = "|".join({**flags, "Action": "1", "Sci-Fi": "1"}.values())
    unknown = "|".join({**flags, "unknown": "1"}.values())
    ratings = b"1\t2\t5\t881250949\n1\t267\t1\t881250950\n"
    grouplens = movielens.parse(
        GROUPLENS,
        ratings,
        b"1|24|M|technician|85711\n",
        f"2|Alien (1979)|01-Jan-1979||http://x|{action}\n267|unknown||||{unknown}\n".encode(),
    )
    recbole = movielens.parse(
        RECBOLE,
        b"user_id:token\titem_id:token\trating:float\ttimestamp:float\r\n" + ratings,
        b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\r\n1\t24\tM\ttechnician\t85711\r\n",
        b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\r\n"
        b"2\tAlien\t1979\tAction Sci-Fi\r\n267\tunknown\tunknown\tunknown\r\n",
    )
    for name in ("ratings", "users", "items"):
        assert getattr(grouplens, name).equals(getattr(recbole, name))
    assert grouplens.items["genres"].tolist() == [["Action", "Sci-Fi"], ["unknown"]]


def test_a_malformed_line_of_100k_is_named() -> None:
    with pytest.raises(StepError, match=r"u\.data, line 2"):
        movielens.parse(GROUPLENS, b"1\t2\t5\t1\n1\t2\n", b"1|24|M|x|1\n", b"x")
    with pytest.raises(StepError, match=r"ml-100k\.inter, line 1: a header"):
        movielens.parse(RECBOLE, b"1\t2\t5\t1\n", b"x", b"x")


def test_the_year_is_at_the_end_of_a_title_but_for_spaces() -> None:
    assert movielens.release_year("2001 (1968) ") == 1968
    assert math.isnan(movielens.release_year("Nothing"))
    assert math.isnan(movielens.release_year("(1990) Later"))


# Zips that cannot be read


def damaged_zip(folder: Path, how: str) -> Path:
    """A zip with the three files of MovieLens-1M whose directory is whole, and whose members cannot be read."""
    path = folder / "ml-1m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("ratings.dat", "users.dat", "movies.dat"):
            archive.writestr(f"ml-1m/{name}", b"1::2::3::4\n" * 500)
        first = archive.infolist()[0]
        start = first.header_offset + 30 + len(first.filename)
    raw = bytearray(path.read_bytes())
    if how == "deflate":
        raw[start : start + 8] = b"\xff" * 8
    elif how == "checksum":
        raw[start + first.compress_size - 4] ^= 0xFF
    else:
        for at in (raw.index(b"PK\x03\x04") + 6, raw.index(b"PK\x01\x02") + 8):
            raw[at] |= 1  # the flag for an encrypted member
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("how", ["deflate", "checksum", "encrypted"])
def test_a_zip_with_a_member_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, how: str
) -> None:
    path = damaged_zip(tmp_path, how)
    with pytest.raises(StepError, match=r"ml-1m/ratings\.dat") as error:
        tables_of(path)
    assert str(path) in str(error.value)
    assert "RECSYS_DATA" in str(error.value)


def test_a_zip_bomb_is_refused_before_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.dat", bytes(1 << 20))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 19))
    with pytest.raises(StepError, match=r"bomb\.zip would unpack to 0\.0 GB"):
        tables_of(path)
    monkeypatch.undo()
    with pytest.raises(
        StepError, match=f"{movielens.MOST_UNPACKED} times"
    ):  # zeros shrink to a thousandth
        tables_of(path)


def test_a_data_set_without_a_reader_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is missing is enough to be without it."""
    (tmp_path / "dataset.toml").write_text('name = "shop"')
    monkeypatch.setattr("data_exchange_center.plugins.find", lambda group: {})
    with pytest.raises(
        StepError,
        match=r"holds no data set.* MovieLens: .*this installation lacks: .*extras.own_data",
    ):
        tables_of(tmp_path)


# Files that are not what they seem


def test_links_that_lead_out_of_the_folder_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, secret = tmp_path / "data", tmp_path / "secret.dat"
    folder.mkdir()
    secret.write_text("secret")
    (folder / "ratings.dat").symlink_to(secret)
    (folder / "users.dat").write_text("here")
    (folder / "movies.dat").symlink_to(folder / "users.dat")
    with movielens.files_of(folder) as files:
        assert sorted(files) == ["movies.dat", "users.dat"]
    assert "ratings.dat" in caplog.text
    (tmp_path / "link").symlink_to(folder)
    with movielens.files_of(tmp_path / "link") as files:
        assert sorted(files) == ["movies.dat", "users.dat"]


def test_of_two_files_with_one_name_the_first_in_order_is_taken(tmp_path: Path) -> None:
    folder, archive = tmp_path / "folder", tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("b/x.csv", "a/x.csv", "c/x.csv", "a-b/x.csv"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(name)
            file.write(folder / name, name)
    for path in (folder, archive):
        with movielens.files_of(path) as files:
            assert files["x.csv"].read_text() == "a/x.csv"
