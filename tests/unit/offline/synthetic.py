"""A small MovieLens made up here: users with few ratings, gaps in the ids, ties in time, its own genres; its steps."""

import importlib
from pathlib import Path

import numpy as np

from data_exchange_center import provenance
from data_exchange_center.settings import Settings

GENRES = ("Drama", "Action", "Sci-Fi")


def step(settings: Settings, number: int) -> None:
    """Run one of the seven steps."""
    importlib.import_module(
        provenance.STEPS[number].path.removesuffix(".py").replace("/", ".")
    ).main(settings)


def run_steps(settings: Settings, steps: int = len(provenance.STEPS)) -> Settings:
    """Run the first steps, or all. Returns ``settings``."""
    for number in range(steps):
        step(settings, number)
    return settings


def made_up_movielens(
    folder: Path, users: int = 60, items: int = 80, seed: int = 0
) -> Path:
    """Three .dat files; user k has about k ratings, the first has one. Returns ``folder``."""
    random = np.random.default_rng(seed)
    itemids = random.permutation(np.arange(7, 7 + 3 * items, 3))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "movies.dat").write_text(
        "".join(
            f"{item}::Épisode {item}: a film (1999)::{'|'.join(random.choice(GENRES, random.integers(1, 4), False))}\n"
            for item in itemids
        ),
        encoding="latin-1",
    )
    userids = [5 * (user + 1) for user in range(users)]
    people = [
        f"{u}::{'MF'[u % 2]}::{random.choice([18, 25, 56])}::{random.integers(0, 4)}::12345\n"
        for u in userids
    ]
    (folder / "users.dat").write_text("".join(people))
    lines = [
        f"{user}::{item}::{random.integers(1, 6)}::{978_300_000 + random.integers(0, 40)}\n"
        for count, user in enumerate(userids, start=1)
        for item in random.choice(itemids, min(count, items), replace=False)
    ]
    (folder / "ratings.dat").write_text(
        "".join(lines[i] for i in random.permutation(len(lines)))
    )
    return folder
