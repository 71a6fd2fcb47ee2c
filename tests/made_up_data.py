"""Data sets that are no MovieLens, made up here: folders with a dataset.toml, the same for the same arguments."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from offline.movielens import MovieLens, release_year

SHOP = """\
name = "shop"

[interactions]
user = "customer"
item = "sku"
time = "at"
time_unit = "iso"
"""
HALF_STARS = """\
name = "half-stars"

[interactions]
file = "seen.csv.gz"
delimiter = ";"
user = "who"
item = "what"
time = "when"
time_unit = "ms"
value = "stars"
positive_above = 3.5

[users]
id = "who"
attributes = { "Land" = "categorical", "Jahre" = "numeric", "mag" = "multi-valued" }

[items]
id = "what"
title = "name"
separator = ","
attributes = { "Art" = "multi-valued", "Preis" = "numeric" }

[holdout]
last = 3
"""

EXPORTED = """\
name = "exported"

[interactions]
file = "log.csv"
user = "viewer"
item = "film"
time = "at"
time_unit = "iso"
value = "stars"
positive_above = 3

[users]
file = "viewers.csv"
id = "viewer"
[users.attributes]
gender = { kind = "categorical", column = "sex" }
age = { kind = "categorical", column = "years" }
occupation = { kind = "categorical", column = "job" }

[items]
file = "films.csv"
id = "film"
title = "name"
[items.attributes]
genres = { kind = "multi-valued", column = "kinds" }
year = { kind = "numeric", column = "released", scale = 100, centres = CENTRES, width = 6 }

[holdout]
last = 10
""".replace("CENTRES", str(list(range(1920, 2001, 8))))


def exported(data: MovieLens, folder: Path) -> Path:
    """MovieLens as somebody else might have it: other files, other column names, times as text. Returns ``folder``."""
    rows = (
        (user, film, datetime.fromtimestamp(at, UTC).isoformat(), stars)
        for user, film, stars, at in data.ratings[
            ["userid", "itemid", "rating", "timestamp"]
        ]
        .to_numpy()
        .tolist()
    )
    _write(folder / "log.csv", ("viewer", "film", "at", "stars"), rows)
    people = data.users[["userid", "gender", "age", "occupation"]].to_numpy().tolist()
    _write(folder / "viewers.csv", ("viewer", "sex", "years", "job"), people)
    films = [
        (
            film,
            name,
            "|".join(kinds),
            "" if math.isnan(year := release_year(name)) else int(year),
        )
        for film, name, kinds in data.items[["itemid", "title", "genres"]]
        .to_numpy()
        .tolist()
    ]
    _write(folder / "films.csv", ("film", "name", "kinds", "released"), films)
    (folder / "dataset.toml").write_text(EXPORTED, encoding="utf-8")
    return folder


def shop(
    folder: Path, users: int = 300, items: int = 80, views: int = 4_000, seed: int = 0
) -> Path:
    """Views of a shop: string ids, ISO times, no values, no attributes; many views are of the same item again.

    A visit is a sequence of neighbouring items, so there is something to learn. Returns ``folder``.
    """
    random = np.random.default_rng(seed)
    names = [f"u-{number:04x}" for number in random.permutation(16**4)[:users]]
    skus = [f"SKU/{number:05d} é" for number in random.permutation(99_999)[:items]]
    diligence = random.lognormal(sigma=1.0, size=users)
    counts = 1 + random.multinomial(views - users, diligence / diligence.sum())
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    rows = []
    for name, n in zip(names, counts.tolist(), strict=True):
        place, at = (
            int(random.integers(items)),
            begin + timedelta(minutes=int(random.integers(500_000))),
        )
        for _ in range(n):
            rows.append(
                (
                    name,
                    skus[place],
                    at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                )
            )
            place = (place + int(random.choice([0, 1, 1, 2, 7]))) % items
            at += timedelta(
                milliseconds=int(
                    random.integers(1, 90_000_000 if random.random() < 0.2 else 60_000)
                )
            )
    rows = [rows[row] for row in random.permutation(len(rows))]
    _write(folder / "interactions.csv", ("customer", "sku", "at"), rows)
    (folder / "dataset.toml").write_text(SHOP, encoding="utf-8")
    return folder


def supermarket(folder: Path, users: int = 70, seed: int = 0) -> Path:
    """The log of a supermarket, as Ta Feng's: all come some days, for some of six habits and for the two offers of the
    week; the first ten once. Returns ``folder``."""
    from extras.baskets import ta_feng  # a package that may be taken away

    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        habits = random.choice(np.arange(20, 60), 6, replace=False)
        for day in np.sort(
            random.choice(28, 1 if user < 10 else 6, replace=False)
        ).tolist():
            offers = 2 * (day // 7) + np.arange(2)
            age, who = ("25-29", "")[user % 2], f"{user:08d}"
            rows += [
                (
                    f"2/{day + 1}/2001",
                    who,
                    age,
                    "115",
                    f"{item % 7}",
                    f"47{item:03d}",
                    9 + item,
                )
                for item in sorted(
                    {
                        *random.choice(habits, 3, replace=False).tolist(),
                        *offers.tolist(),
                    }
                )
            ]
    header = (
        "TRANSACTION_DT",
        "CUSTOMER_ID",
        "AGE_GROUP",
        "PIN_CODE",
        "PRODUCT_SUBCLASS",
        "PRODUCT_ID",
        "SALES_PRICE",
    )
    _write(folder / ta_feng.LOG, header, rows)
    declared = ta_feng.DECLARED.read_text(encoding="utf-8").replace(
        'name = "ta-feng"', 'name = "market"'
    )
    (folder / "dataset.toml").write_text(declared, encoding="utf-8")
    return folder


def half_stars(
    folder: Path, users: int = 60, items: int = 700, kinds: int = 300, seed: int = 0
) -> Path:
    """Half stars in milliseconds, hundreds of categories with awkward names, items without a name, big ids."""
    random = np.random.default_rng(seed)
    people = [str(5_000_000_000 + 7 * number) for number in range(users)]
    things = [f"t{number}" for number in range(items)]
    names = [f"Art {number}" for number in range(kinds - 6)]
    names += ["C++", "C", "C#", "映画", "Sci-Fi: new|old", "Ünïcode"]
    rows = []
    for number, who in enumerate(people):
        liked = names[number % kinds]
        at = 1_600_000_000_000 + int(random.integers(10**9))
        for what in random.choice(items, 25 + number % 7, replace=False):
            stars = random.integers(1, 11) / 2 if names[what % kinds] != liked else 5.0
            at += int(random.integers(1, 100_000))
            rows.append((who, things[what], at, f"{stars:.1f}"))
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "seen.csv.gz", "wt", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows(
            [("who", "what", "when", "stars"), *rows]
        )
    of_people = [
        (
            who,
            ("de", "fr", "")[n % 3],
            "" if n % 11 == 0 else 18 + n,
            "|".join(names[n % 5 : n % 5 + 2]),
        )
        for n, who in enumerate(people)
    ]
    _write(folder / "users.csv", ("who", "Land", "Jahre", "mag"), of_people)
    of_things = [
        (
            what,
            "" if n % 9 == 0 else f'Thing "{n}", the\nlong',
            names[n % kinds].replace(",", ""),
            f"{(n % 40) * 0.25:.2f}",
        )
        for n, what in enumerate(things)
    ]
    _write(folder / "items.csv", ("what", "name", "Art", "Preis"), of_things)
    (folder / "dataset.toml").write_text(HALF_STARS, encoding="utf-8")
    return folder


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
