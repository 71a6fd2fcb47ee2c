"""MovieLens: find it in a folder or a zip, and read it into step 0's tables. `extras/movielens` downloads it.

Three layouts are known: MovieLens-1M, MovieLens-100K as GroupLens publishes it and as RecBole carries it. A malformed
line stops the step with file, line number and what was expected. Text is UTF-8, or ISO-8859-1 where it is not valid
UTF-8, as GroupLens's own movies.dat. Stars above three are liked. The last ten ratings of every user are held out.
"""

import logging
import re
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset, HoldoutRule, ItemNumber
from data_exchange_center.steps import StepError

log = logging.getLogger(__name__)

YEAR = "year"  # of release, out of the title
MOST_UNPACKED: Final = 200  # times a zip's own size that its files may take
AHEAD_S: Final = 86_400  # by which a rating's time may be ahead of this machine's clock

Files = Mapping[str, Path]  # name -> where the file lies


# --- Find its files


@contextmanager
def files_of(path: Path) -> Iterator[Files]:
    """Every file of a folder or of a zip, at any depth; of two with the same name, the first in order.

    A zip is unpacked into a temporary folder (TMPDIR says where). Symbolic links that lead out of a folder are left
    out, with a warning. Raises StepError where ``path`` is neither a folder nor a whole zip.
    """
    if not path.exists():
        raise StepError(
            f"{path.absolute()} does not exist; RECSYS_DATA must name a folder or a zip with data."
        )
    with tempfile.TemporaryDirectory(prefix="recsys-data-") as unpacked:
        folder = path if path.is_dir() else Path(unpacked)
        if path.is_file():
            _unpack(path, folder)
        files = [
            each for each in sorted(folder.rglob("*"), reverse=True) if each.is_file()
        ]
        outside = {
            each
            for each in files
            if not each.resolve().is_relative_to(folder.resolve())
        }
        if outside:
            log.warning(
                "left out, as they lead out of %s: %s",
                folder,
                ", ".join(sorted(map(str, outside))[:3]),
            )
        yield {each.name: each for each in files if each not in outside}


def _unpack(path: Path, folder: Path) -> None:
    """Unpack a zip. Raises StepError where it is damaged, encrypted, or larger than the free space."""
    part = "its directory"
    try:
        with zipfile.ZipFile(path) as archive:
            # a member is read no further than the size that it declares, so their sum bounds what is written
            size, free = (
                sum(member.file_size for member in archive.infolist()),
                shutil.disk_usage(folder).free,
            )
            if size > min(free, MOST_UNPACKED * path.stat().st_size):
                raise StepError(
                    f"{path} would unpack to {size / 1e9:,.1f} GB; {folder.parent} has {free / 1e9:,.1f} GB free, and "
                    f"{MOST_UNPACKED} times the zip's own size is the limit: name another folder in TMPDIR, or the "
                    "folder of the unpacked files in RECSYS_DATA."
                )
            for part in archive.namelist():
                archive.extract(part, folder)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise StepError(  # RuntimeError: encrypted
            f"{path} is not a whole zip: {part} cannot be read ({error}). Fetch it again, or name the folder of the "
            "unpacked files in RECSYS_DATA."
        ) from error


# --- Read them


def malformed(file: str, line: int, found: str, expected: str) -> StepError:
    """The error for a line, numbered from 1, that is not what it should be."""
    return StepError(
        f"{file}, line {line}: {expected} expected, found {found[:120]!r}."
    )


class MovieLens(NamedTuple):
    """The three tables of a data set, rows in the order of the files."""

    ratings: pd.DataFrame  # userid int32, itemid int32, rating int8, timestamp int64
    users: pd.DataFrame  # userid int32, gender, age int32, occupation (a code in 1M, a word in 100K: a string)
    items: pd.DataFrame  # itemid int32, title, genres: list of names


def read(files: Files, where: Path, exchange_dir: Path) -> Dataset | None:
    """Read MovieLens and write `artifacts.RAW`; None where the files are no MovieLens.

    Raises StepError, naming file and line, before anything is written.
    """
    layout = layout_of(files)
    if layout is None:
        return None
    data = parse(layout, *(files[name].read_bytes() for name in layout.files))
    _expect_ids(layout, data)

    # by user and time, ties in file order; users and items by id
    ratings = data.ratings.iloc[
        np.lexsort((data.ratings[Columns.TIMESTAMP], data.ratings[Columns.USER]))
    ]
    tables = []
    for table, key in ((data.users, Columns.USER), (data.items, Columns.ITEM)):
        table = table.sort_values(key, ignore_index=True)
        table.insert(1, Columns.OWN_ID, table[key].astype(str))
        tables.append(table)
    users, items = tables
    items[YEAR] = items[Columns.TITLE].map(release_year).astype("float64")
    for artifact, table in zip(artifacts.RAW, (ratings, users, items), strict=True):
        artifact.write(exchange_dir, table)

    return described(data)


def described(data: MovieLens) -> Dataset:
    """Facts about MovieLens that later steps need; origin and files are the caller's."""
    genres = {genre for genres in data.items[Columns.GENRES] for genre in genres}
    sizes = {
        "ratings": len(data.ratings),
        "users": len(data.users),
        "items": len(data.items),
        "genres": len(genres),
    }
    return Dataset(
        name=name_of(sizes),
        origin="",
        counts=sizes,
        sha256={},
        levels=(1, 2, 3, 4, 5),
        positive_level=3,
        profile=(Columns.GENDER, Columns.AGE, Columns.OCCUPATION),
        crossed=(Columns.GENDER, Columns.AGE),
        terms=(Columns.GENRES,),
        numbers=(
            ItemNumber(
                name=YEAR,
                column=YEAR,
                scale=100,
                centres=tuple(range(1920, 2001, 8)),
                width=6,
            ),
        ),
        holdout=HoldoutRule(last=10),
    )


def release_year(title: str) -> float:
    """``Toy Story (1995)`` -> 1995; NaN where the title names none."""
    found = re.search(r"\((\d{4})\)\s*$", title)
    return float(found.group(1)) if found else float("nan")


def _expect_ids(layout: "Layout", data: MovieLens) -> None:
    """Raise StepError for an id that is listed twice, a rating of an id that is not listed, a time in the future."""
    rated, *listed = layout.files
    for table, file, key in zip(
        (data.users, data.items), listed, (Columns.USER, Columns.ITEM), strict=True
    ):
        for row in np.flatnonzero(table[key].duplicated())[:1]:
            raise malformed(
                file,
                layout.first + row,
                str(table[key][row]),
                f"a {key} that is not there already",
            )
        for row in np.flatnonzero(~data.ratings[key].isin(table[key]))[:1]:
            found = str(data.ratings[key][row])
            raise malformed(
                rated, layout.first + row, found, f"a {key} that is listed in {file}"
            )
    times = data.ratings[Columns.TIMESTAMP]
    for row in np.flatnonzero(times > time.time() + AHEAD_S)[:1]:
        expected = "a time that is not in the future, in seconds since 1970,"
        raise malformed(rated, layout.first + row, str(times[row]), expected)


class Layout(NamedTuple):
    """File layout of one edition of MovieLens."""

    files: tuple[str, str, str]  # names of ratings, users and items
    between: str  # the fields of a rating
    user: str  # a line of users, with groups ``id``, ``gender``, ``age`` and ``job``; ``user_expected``: in words
    user_expected: str
    # a line of items, with groups ``id``, ``title``, and the genres as ``genres`` (between |), ``flags`` (19) or
    # ``words`` (between spaces); ``year``, where the title lacks it; ``item_expected``: in words
    item: str
    item_expected: str
    headers: tuple[str, str, str] = (
        "",
        "",
        "",
    )  # how the first line of each file begins; empty where there is none

    @property
    def first(self) -> int:
        """Line of the first row."""
        return 2 if self.headers[0] else 1


NO_GENRE = "(no genres listed)"  # how GroupLens spells an empty list
GENRES = (  # the flags of u.item, in its order
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
    ),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)
LAYOUTS: Final = (
    Layout(
        ("ratings.dat", "users.dat", "movies.dat"),
        "::",
        r"(?P<id>\d{1,9})::(?P<gender>[^:]+)::(?P<age>\d{1,3})::(?P<job>[^:]+)(?:::.*)?",
        "userid::gender::age::occupation::zip-code",
        r"(?P<id>\d{1,9})::(?P<title>.+)::(?P<genres>[^:]*)",
        "itemid::title::genre|genre",
    ),
    Layout(
        ("u.data", "u.user", "u.item"),
        "\t",
        r"(?P<id>\d{1,9})\|(?P<age>\d{1,3})\|(?P<gender>[^|]+)\|(?P<job>[^|]+)\|[^|]*",
        "userid|age|gender|occupation|zip-code",
        r"(?P<id>\d{1,9})\|(?P<title>[^|]*)(?:\|[^|]*){3}\|(?P<flags>[01](?:\|[01]){18})",
        "itemid|title|dates|address and 19 genre flags",
    ),
    Layout(
        ("ml-100k.inter", "ml-100k.user", "ml-100k.item"),
        "\t",
        r"(?P<id>\d{1,9})\t(?P<age>\d{1,3})\t(?P<gender>[^\t]+)\t(?P<job>[^\t]+)\t[^\t]*",
        "userid, age, gender, occupation and zip-code between tabs",
        r"(?P<id>\d{1,9})\t(?P<title>[^\t]+)\t(?P<year>[^\t]*)\t(?P<words>[^\t]*)",
        "itemid, title, year and genres between tabs",
        ("user_id:", "user_id:", "item_id:"),
    ),
)
EXPECTED: Final = "MovieLens: " + "; or ".join(
    ", ".join(layout.files) for layout in LAYOUTS
)


def layout_of(files: Mapping[str, Any]) -> Layout | None:
    """The layout whose files are all there."""
    return next(
        (layout for layout in LAYOUTS if all(name in files for name in layout.files)),
        None,
    )


def parse(layout: Layout, *contents: bytes) -> MovieLens:
    """The content of the three files -> tables. Raises StepError."""
    bodies = []
    for file, content, header in zip(
        layout.files, contents, layout.headers, strict=True
    ):
        if not content.strip():
            raise StepError(f"{file} is empty: a row on every line expected.")
        head, _, body = content.partition(b"\n") if header else (b"", b"", content)
        if not head.startswith(header.encode()):
            raise malformed(
                file, 1, head.decode("latin-1"), f"a header that begins with {header!r}"
            )
        bodies.append(body)
    ratings = _ratings(layout, bodies[0])
    users = [
        (int(user["id"]), user["gender"], int(user["age"]), user["job"])
        for user in _rows(
            layout, layout.files[1], bodies[1], layout.user, layout.user_expected
        )
    ]
    items = [
        _item(item)
        for item in _rows(
            layout, layout.files[2], bodies[2], layout.item, layout.item_expected
        )
    ]
    of_users = pd.DataFrame(
        users, columns=[Columns.USER, Columns.GENDER, Columns.AGE, Columns.OCCUPATION]
    )
    of_items = pd.DataFrame(
        items, columns=[Columns.ITEM, Columns.TITLE, Columns.GENRES]
    )
    return MovieLens(
        ratings,
        of_users.astype({Columns.USER: "int32", Columns.AGE: "int32"}),
        of_items.astype({Columns.ITEM: "int32"}),
    )


def _item(found: Mapping[str, str]) -> tuple[int, str, list[str]]:
    """Id, title with the year, genres."""
    year = found.get("year", "")
    title = f"{found['title']} ({year})" if year.isdecimal() else found["title"]
    if "flags" in found:
        genres = [
            genre
            for genre, flag in zip(GENRES, found["flags"].split("|"), strict=True)
            if flag == "1"
        ]
    else:
        genres = (
            found["genres"].split("|") if "genres" in found else found["words"].split()
        )
    return (
        int(found["id"]),
        title,
        [genre for genre in genres if genre not in ("", NO_GENRE)],
    )


def _ratings(layout: Layout, content: bytes) -> pd.DataFrame:
    """Parse the ratings. Raises StepError for a line that is not four whole numbers."""
    separator = layout.between.encode()
    good = re.compile(
        rb"\d{1,9}%(s)b\d{1,9}%(s)b[1-5]%(s)b\d{1,11}" % {b"s": separator}
    )
    for number, line in enumerate(content.splitlines(), start=layout.first):
        if not good.fullmatch(line):
            expected = (
                "userid, itemid, a rating of 1 to 5 and timestamp, "
                f"whole numbers with {layout.between!r} between,"
            )
            raise malformed(layout.files[0], number, line.decode("latin-1"), expected)
    numbers = np.fromstring(
        content.replace(separator, b" ").decode(), np.int64, sep=" "
    ).reshape(-1, 4)
    types = artifacts.RAW_INTERACTIONS.columns.items()
    return pd.DataFrame(
        {
            name: numbers[:, n].astype(kind.to_pandas_dtype())
            for n, (name, kind) in enumerate(types)
        }
    )


def _rows(
    layout: Layout, file: str, content: bytes, pattern: str, expected: str
) -> Iterator[dict[str, str]]:
    """The groups of the pattern in each line. Raises StepError for a line that does not match."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("iso-8859-1")
    lines = text.removesuffix("\n").split("\n")  # a title may hold other line breaks
    for number, line in enumerate(lines, start=layout.first):
        found = re.fullmatch(pattern, line.removesuffix("\r"))
        if found is None:
            raise malformed(file, number, line.removesuffix("\r"), expected)
        yield found.groupdict()


# --- The published data sets

ML_1M, ML_100K, OTHER = "ml-1m", "ml-100k", "other"

SETS = {
    ML_1M: {"ratings": 1_000_209, "users": 6_040, "items": 3_883, "genres": 18},
    ML_100K: {"ratings": 100_000, "users": 943, "items": 1_682, "genres": 19},
}


def name_of(counts: Mapping[str, int]) -> str:
    """Name of the data set with these counts. No checksums: a copy with other line ends is the same data."""
    for name, known in SETS.items():
        if all(counts[what] == known[what] for what in ("ratings", "users", "items")):
            return name
    return OTHER
