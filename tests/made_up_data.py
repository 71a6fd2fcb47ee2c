"""Data sets that are no MovieLens, made up here: folders with a dataset.toml, the same for the same arguments."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

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
    at = pd.to_datetime(data.ratings["timestamp"], unit="s", utc=True)
    ratings = data.ratings.assign(timestamp=at.map(pd.Timestamp.isoformat))
    names = ["itemid", "title", "genres"]
    items = data.items[names].assign(
        genres=data.items["genres"].str.join("|"),
        released=data.items["title"].map(release_year).astype("Int64"),
    )
    renamed = {
        **{"userid": "viewer", "gender": "sex", "age": "years", "occupation": "job"},
        **{"itemid": "film", "title": "name", "genres": "kinds"},
        **{"rating": "stars", "timestamp": "at"},
    }
    tables = {"log.csv": ratings, "viewers.csv": data.users, "films.csv": items}
    return _written(
        folder,
        EXPORTED,
        {name: table.rename(columns=renamed) for name, table in tables.items()},
    )


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
    rows = []
    for name, n in zip(names, counts.tolist(), strict=True):
        place = random.integers(items)
        at = datetime(2024, 1, 1) + timedelta(minutes=int(random.integers(500_000)))
        for _ in range(n):
            rows.append(
                (name, skus[place], f"{at.isoformat(timespec='milliseconds')}Z")
            )
            place = (place + random.choice([0, 1, 1, 2, 7])) % items
            longest = 90_000_000 if random.random() < 0.2 else 60_000
            at += timedelta(milliseconds=int(random.integers(1, longest)))
    views_in_any_order = pd.DataFrame(rows, columns=["customer", "sku", "at"]).sample(
        frac=1, random_state=seed
    )
    return _written(folder, SHOP, {"interactions.csv": views_in_any_order})


def supermarket(folder: Path, users: int = 70, seed: int = 0) -> Path:
    """The log of a supermarket, as Ta Feng's: all come some days, for some of six habits and for the two offers of the
    week; the first ten once. Returns ``folder``."""
    from extras.baskets import ta_feng  # a package that may be taken away

    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        habits = random.choice(np.arange(20, 60), 6, replace=False)
        for day in random.choice(28, 1 if user < 10 else 6, replace=False).tolist():
            offers = 2 * (day // 7) + np.arange(2)
            bought = {*random.choice(habits, 3, replace=False), *offers}
            rows += [
                {
                    "TRANSACTION_DT": f"2/{day + 1}/2001",
                    "CUSTOMER_ID": f"{user:08d}",
                    "AGE_GROUP": ("25-29", "")[user % 2],
                    "PIN_CODE": "115",
                    "PRODUCT_SUBCLASS": item % 7,
                    "PRODUCT_ID": f"47{item:03d}",
                    "SALES_PRICE": 9 + item,
                }
                for item in sorted(bought)
            ]
    declared = ta_feng.DECLARED.read_text(encoding="utf-8")
    named = declared.replace('name = "ta-feng"', 'name = "market"')
    return _written(folder, named, {ta_feng.LOG: pd.DataFrame(rows)})


def half_stars(
    folder: Path, users: int = 60, items: int = 700, kinds: int = 300, seed: int = 0
) -> Path:
    """Half stars in milliseconds, hundreds of categories with awkward names, items without a name, big ids."""
    random = np.random.default_rng(seed)
    people = [str(5_000_000_000 + 7 * number) for number in range(users)]
    names = [f"Art {number}" for number in range(kinds - 6)]
    names += ["C++", "C", "C#", "映画", "Sci-Fi: new|old", "Ünïcode"]
    rows = []
    for number, who in enumerate(people):
        liked = names[number % kinds]
        at = 1_600_000_000_000 + random.integers(10**9)
        for what in random.choice(items, 25 + number % 7, replace=False):
            stars = random.integers(1, 11) / 2 if names[what % kinds] != liked else 5.0
            at += random.integers(1, 100_000)
            rows.append((who, f"t{what}", at, stars))
    seen = pd.DataFrame(rows, columns=["who", "what", "when", "stars"])
    of_people = {
        "who": people,
        "Land": [("de", "fr", "")[n % 3] for n in range(users)],
        "Jahre": ["" if n % 11 == 0 else 18 + n for n in range(users)],
        "mag": ["|".join(names[n % 5 : n % 5 + 2]) for n in range(users)],
    }
    of_things = {
        "what": [f"t{n}" for n in range(items)],
        "name": ["" if n % 9 == 0 else f'Thing "{n}", the\nlong' for n in range(items)],
        "Art": [names[n % kinds] for n in range(items)],
        "Preis": np.arange(items) % 40 * 0.25,
    }
    tables = {"users.csv": of_people, "items.csv": of_things}
    _written(folder, HALF_STARS, {name: pd.DataFrame(tables[name]) for name in tables})
    seen.to_csv(folder / "seen.csv.gz", sep=";", index=False)
    return folder


def _written(folder: Path, declaration: str, tables: dict[str, pd.DataFrame]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.toml").write_text(declaration, encoding="utf-8")
    for name, table in tables.items():
        table.to_csv(folder / name, index=False)
    return folder
