"""A made-up shop whose truth is known: people view what makes them curious and buy what they need.

Every person has two tastes: what they look at, and what they buy; the second is only partly the first. A visit is a
few views; of what is needed something is put into the cart, and some of that is bought, then or at a later visit. What
was bought is not bought again. Written as three CSV files, for which `make new-data` proposes a dataset.toml.

Reads:  nothing
Writes: interactions.csv, users.csv and items.csv in the folder
Run:    python -m research.measure.shop my-shop
Expect: some 60,000 events of 1,000 people; a second
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIMS: Final = 6  # of a taste
LIKENESS: Final = 0.4  # of what is looked at and what is bought
BEGIN: Final = 1_700_000_000
VISIT_S: Final = 2 * 86_400  # mean time between two visits of a person
CATEGORIES: Final = ("lamp", "desk", "chair", "shelf", "rug", "clock", "vase", "sofa")
COUNTRIES: Final = ("de", "fr", "it", "es")
DECLARED: Final = """\
name = "shop"
repeats = "{repeats}"

[interactions]
user = "customer"
item = "sku"
time = "at"
time_unit = "s"
{type}
[users]
id = "customer"
attributes = {{ country = "categorical" }}

[items]
id = "sku"
title = "name"
attributes = {{ category = "categorical", price = "numeric" }}
{types}"""
TYPES: Final = """
[types]
view = { weight = 0.1, target = true }
cart = { weight = 0.3, target = true }
buy = { weight = 1.0, target = true, has = true }
"""


@dataclass(frozen=True)
class Truth:
    """What people want: (users, items) how much they need each item, and how curious they are about it."""

    need: Floats
    curiosity: Floats


@dataclass(frozen=True)
class Shop:
    """A shop's people, goods and events, as rows of its files."""

    users: Sequence[tuple[Any, ...]]
    items: Sequence[tuple[Any, ...]]
    events: Sequence[tuple[Any, ...]]
    truth: Truth

    def write(self, folder: Path, *, types: bool = True, repeats: bool = False) -> Path:
        """Write the files and a declaration.

        Args:
            types: whether it names types; else all events count alike.
            repeats: whether items that a user has had are recommended again.
        """
        self.write_files(folder)
        declared = DECLARED.format(
            repeats="again" if repeats else "never",
            type='type = "kind"\n' if types else "",
            types=TYPES if types else "",
        )
        (folder / "dataset.toml").write_text(declared, encoding="utf-8")
        return folder

    def write_files(self, folder: Path) -> None:
        """Write the three CSV files."""
        folder.mkdir(parents=True, exist_ok=True)
        head = ("customer", "sku", "at", "kind")
        _write(folder / "interactions.csv", head, self.events)
        _write(folder / "users.csv", ("customer", "country"), self.users)
        columns = ("sku", "name", "category", "price")
        _write(folder / "items.csv", columns, self.items)


def make_shop(seed: int, users: int = 1000, items: int = 300, visits: int = 9) -> Shop:
    """A shop of so many people and goods, with ``visits`` of a person on average; the same seed gives the same."""
    random = np.random.default_rng(seed)
    looked = random.normal(size=(users, DIMS))
    bought = LIKENESS * looked + random.normal(size=(users, DIMS)) * (1 - LIKENESS)
    kind = random.integers(len(CATEGORIES), size=items)
    centres = random.normal(size=(len(CATEGORIES), DIMS))
    goods = centres[kind] + 0.7 * random.normal(size=(items, DIMS))
    curiosity = looked @ goods.T / np.sqrt(DIMS) + random.normal(size=items)
    need = 2 * bought @ goods.T / np.sqrt(DIMS) + 0.5 * random.normal(size=items)
    rows: list[tuple[Any, ...]] = []
    for user in range(users):
        rows += _events(user, curiosity[user], need[user], visits, random)
    prices = np.round(random.lognormal(3.5, 0.8, size=items), 2)
    return Shop(
        [(f"u{n}", COUNTRIES[n % len(COUNTRIES)]) for n in range(users)],
        [
            (f"sku-{n}", f"{CATEGORIES[kind[n]]} {n}", CATEGORIES[kind[n]], prices[n])
            for n in range(items)
        ],
        sorted(rows, key=lambda row: row[2]),
        Truth(need, curiosity),
    )


def _events(
    user: int, curiosity: Floats, need: Floats, visits: int, random: np.random.Generator
) -> Iterable[tuple[Any, ...]]:
    """One person's views, carts and purchases."""
    at = BEGIN + int(random.exponential(30 * 86_400))
    wants = np.exp(curiosity + 0.5 * need)
    in_cart: set[int] = set()
    had: set[int] = set()
    for _ in range(1 + random.poisson(visits - 1)):
        at += 600 + int(random.exponential(VISIT_S))
        chance = wants / wants.sum()
        seen = random.choice(len(wants), 1 + random.poisson(5), p=chance)
        for item in [*seen.tolist(), *sorted(in_cart)]:
            if item in had:
                continue
            at += 1 + int(random.exponential(60))
            if item not in in_cart:
                yield f"u{user}", f"sku-{item}", at, "view"
            needed = 1 / (1 + np.exp(2.0 - need[item]))
            if item not in in_cart and random.random() < needed:
                in_cart.add(item)
                yield f"u{user}", f"sku-{item}", at + 1, "cart"
            elif item in in_cart and random.random() < needed:
                in_cart.discard(item)
                had.add(item)
                yield f"u{user}", f"sku-{item}", at + 1, "buy"
            at += 1


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for name, default in (("seed", 0), ("users", 1000), ("items", 300), ("visits", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    shop = make_shop(given.seed, given.users, given.items, given.visits)
    shop.write_files(given.folder)


if __name__ == "__main__":
    main()
