"""MovieLens: find it in a folder or a zip, and read it into step 0's tables. `extras/movielens` downloads it.

Three layouts are known (`LAYOUTS`): MovieLens-1M, MovieLens-100K as GroupLens publishes it and as RecBole carries it. A
malformed line stops the step with file, line number and what was expected. Text is UTF-8, or ISO-8859-1 where it is not
valid UTF-8, as GroupLens's own movies.dat. Stars above three are liked. The last ten ratings of every user are
held out.
"""

import logging
import re
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

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
        folder = path
        if path.is_file():
            folder = Path(unpacked)
            _unpack(path, folder)
        files = {}
        for each in sorted(folder.rglob("*"), reverse=True):
            if not each.resolve().is_relative_to(folder.resolve()):
                log.warning("left out, as it leads out of %s: %s", folder, each)
            elif each.is_file():
                files[each.name] = each
        yield files


def _unpack(path: Path, folder: Path) -> None:
    """Unpack a zip. Raises StepError where it is damaged, encrypted, or larger than the free space."""
    part = "its directory"
    try:
        with zipfile.ZipFile(path) as archive:
            # a member is read no further than the size that it declares, so their sum bounds what is written
            size = sum(member.file_size for member in archive.infolist())
            free = shutil.disk_usage(folder).free
            if size > min(free, MOST_UNPACKED * path.stat().st_size):
                raise StepError(
                    f"{path} would unpack to {size / 1e9:,.1f} GB; {folder.parent} has {free / 1e9:,.1f} GB free, and "
                    f"{MOST_UNPACKED} times the zip's own size is the limit: name another folder in TMPDIR, or the "
                    "folder of the unpacked files in RECSYS_DATA."
                )
            for part in archive.namelist():
                archive.extract(part, folder)
    # RuntimeError: encrypted, or compressed in an unknown way
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise StepError(
            f"{path} is not a whole zip: {part} cannot be read ({error}). Fetch it again, or name the folder of the "
            "unpacked files in RECSYS_DATA."
        ) from error


# --- What its editions differ in


class Table(NamedTuple):
    """A file of an edition.

    Attributes:
        line: regular expression (RE2) of a line, with the columns as groups.
        expected: the same in words.
        header: how the first line begins; empty where there is none.
    """

    file: str
    line: str
    expected: str
    header: str = ""

    def malformed(self, row: int, found: object, expected: str) -> StepError:
        """The error for a row, numbered from 0, that is not what it should be."""
        line = row + 1 + bool(self.header)
        return malformed(self.file, line, str(found), expected)


class Layout(NamedTuple):
    """File layout of one edition of MovieLens."""

    ratings: Table
    users: Table
    items: Table
    genres: Callable[[str], list[str]]  # splits the genres of an item

    @property
    def files(self) -> tuple[str, str, str]:
        return self.ratings.file, self.users.file, self.items.file


NO_GENRE = "(no genres listed)"  # how GroupLens spells an empty list
# the flags of u.item, in its order
FLAGS: Final = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|Horror|Musical|"
    "Mystery|Romance|Sci-Fi|Thriller|War|Western"
)


def _between_bars(genres: str) -> list[str]:
    return [genre for genre in genres.split("|") if genre not in ("", NO_GENRE)]


def _flagged(flags: str) -> list[str]:
    """``0|1|0`` -> the genres whose flag is 1."""
    pairs = zip(FLAGS.split("|"), flags.split("|"), strict=True)
    return [genre for genre, flag in pairs if flag == "1"]


USER, ITEM = r"(?P<userid>\d{1,9})", r"(?P<itemid>\d{1,9})"
RATING = r"(?P<rating>[1-5])", r"(?P<timestamp>\d{1,11})"
IN_TABS = "\t".join([USER, ITEM, *RATING])
EXPECTED_RATING = (
    "userid, itemid, a rating of 1 to 5 and timestamp, whole numbers with {} between,"
)
LAYOUTS: Final = (
    Layout(
        Table(
            "ratings.dat",
            "::".join([USER, ITEM, *RATING]),
            EXPECTED_RATING.format("'::'"),
        ),
        Table(
            "users.dat",
            USER
            + r"::(?P<gender>[^:]+)::(?P<age>\d{1,3})::(?P<occupation>[^:]+)(?:::.*)?",
            "userid::gender::age::occupation::zip-code",
        ),
        Table(
            "movies.dat",
            ITEM + r"::(?P<title>.+)::(?P<genres>[^:]*)",
            "itemid::title::genre|genre",
        ),
        _between_bars,
    ),
    Layout(
        Table("u.data", IN_TABS, EXPECTED_RATING.format("a tab")),
        Table(
            "u.user",
            USER
            + r"\|(?P<age>\d{1,3})\|(?P<gender>[^|]+)\|(?P<occupation>[^|]+)\|[^|]*",
            "userid|age|gender|occupation|zip-code",
        ),
        Table(
            "u.item",
            ITEM + r"\|(?P<title>[^|]*)(?:\|[^|]*){3}\|(?P<genres>[01](?:\|[01]){18})",
            "itemid|title|dates|address and 19 genre flags",
        ),
        _flagged,
    ),
    Layout(
        Table("ml-100k.inter", IN_TABS, EXPECTED_RATING.format("a tab"), "user_id:"),
        Table(
            "ml-100k.user",
            USER
            + r"\t(?P<age>\d{1,3})\t(?P<gender>[^\t]+)\t(?P<occupation>[^\t]+)\t[^\t]*",
            "userid, age, gender, occupation and zip-code between tabs",
            "user_id:",
        ),
        Table(
            "ml-100k.item",
            ITEM + r"\t(?P<title>[^\t]+)\t(?P<year>[^\t]*)\t(?P<genres>[^\t]*)",
            "itemid, title, year and genres between tabs",
            "item_id:",
        ),
        str.split,
    ),
)
EXPECTED: Final = "MovieLens: " + "; or ".join(
    ", ".join(layout.files) for layout in LAYOUTS
)


def layout_of(files: Mapping[str, Any]) -> Layout | None:
    """The layout whose files are all there."""
    for layout in LAYOUTS:
        if files.keys() >= set(layout.files):
            return layout
    return None


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
    ratings = data.ratings.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable")
    artifacts.RAW_INTERACTIONS.write(exchange_dir, ratings)
    items = data.items.assign(**{YEAR: data.items[Columns.TITLE].map(release_year)})
    for artifact, table, key in (
        (artifacts.RAW_USERS, data.users, Columns.USER),
        (artifacts.RAW_ITEMS, items, Columns.ITEM),
    ):
        listed = table.sort_values(key, ignore_index=True)
        listed.insert(1, Columns.OWN_ID, listed[key].astype(str))
        artifact.write(exchange_dir, listed)
    return described(data)


YEARS: Final = ItemNumber(
    name=YEAR, column=YEAR, scale=100, centres=tuple(range(1920, 2001, 8)), width=6
)


def described(data: MovieLens) -> Dataset:
    """Facts about MovieLens that later steps need; origin and files are the caller's."""
    ratings, users, items = map(len, data)
    genres = data.items[Columns.GENRES].explode().nunique()
    return Dataset(
        name=SETS.get((ratings, users, items), OTHER),
        origin="",
        counts={"ratings": ratings, "users": users, "items": items, "genres": genres},
        sha256={},
        levels=(1, 2, 3, 4, 5),
        positive_level=3,
        profile=(Columns.GENDER, Columns.AGE, Columns.OCCUPATION),
        crossed=(Columns.GENDER, Columns.AGE),
        terms=(Columns.GENRES,),
        numbers=(YEARS,),
        holdout=HoldoutRule(last=10),
    )


def release_year(title: str) -> float:
    """``Toy Story (1995)`` -> 1995; NaN where the title names none."""
    found = re.search(r"\((\d{4})\)\s*$", title)
    return float(found.group(1)) if found else float("nan")


def _expect_ids(layout: Layout, data: MovieLens) -> None:
    """Raise StepError for an id that is listed twice, a rating of an id that is not listed, a time in the future."""

    def refuse(table: Table, values: pd.Series, wrong: Any, expected: str) -> None:
        """Raise StepError for the first row, if there is one, where ``wrong`` is True."""
        for row in np.flatnonzero(wrong)[:1]:
            raise table.malformed(row, values[row], expected)

    for listing, listed, key in (
        (layout.users, data.users[Columns.USER], Columns.USER),
        (layout.items, data.items[Columns.ITEM], Columns.ITEM),
    ):
        expected = f"a {key} that is not there already"
        refuse(listing, listed, listed.duplicated(), expected)
        rated = data.ratings[key]
        expected = f"a {key} that is listed in {listing.file}"
        refuse(layout.ratings, rated, ~rated.isin(listed), expected)
    times = data.ratings[Columns.TIMESTAMP]
    expected = "a time that is not in the future, in seconds since 1970,"
    refuse(layout.ratings, times, times > time.time() + AHEAD_S, expected)


def parse(layout: Layout, ratings: bytes, users: bytes, items: bytes) -> MovieLens:
    """The content of the three files -> tables. Raises StepError."""
    of_ratings = _rows(layout.ratings, ratings)
    of_users = _rows(layout.users, users)
    profile = [Columns.USER, Columns.GENDER, Columns.AGE, Columns.OCCUPATION]
    of_items = _rows(layout.items, items).to_pandas()
    titles = of_items[Columns.TITLE]
    if YEAR in of_items:
        years = of_items[YEAR]
        titles = titles.where(~years.str.isdecimal(), titles + " (" + years + ")")
    return MovieLens(
        of_ratings.cast(pa.schema(artifacts.RAW_INTERACTIONS.columns)).to_pandas(),
        of_users.to_pandas()[profile].astype(
            {Columns.USER: "int32", Columns.AGE: "int32"}
        ),
        pd.DataFrame(
            {
                Columns.ITEM: of_items[Columns.ITEM].astype("int32"),
                Columns.TITLE: titles,
                Columns.GENRES: of_items[Columns.GENRES].map(layout.genres),
            }
        ),
    )


def _rows(table: Table, content: bytes) -> pa.Table:
    """The groups of the table's regular expression in each line, as texts.

    Raises StepError for a file that is empty and for a line that does not match.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("iso-8859-1")
    if not text.strip():
        raise StepError(f"{table.file} is empty: a row on every line expected.")
    # a title may hold other line breaks
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if not lines[0].startswith(table.header):
        expected = f"a header that begins with {table.header!r}"
        raise malformed(table.file, 1, lines[0], expected)
    rows = pa.array(lines[bool(table.header) :], pa.string())
    found = pc.extract_regex(rows, f"^(?:{table.line})$")
    for row in np.flatnonzero(found.is_null())[:1]:
        raise table.malformed(row, rows[row], table.expected)
    return pa.Table.from_struct_array(found)


# --- The published data sets

ML_1M, ML_100K, OTHER = "ml-1m", "ml-100k", "other"

# Counts of ratings, users and items -> name. No checksums: a copy with other line ends is the same data
SETS: Final = {
    (1_000_209, 6_040, 3_883): ML_1M,
    (100_000, 943, 1_682): ML_100K,
}
