"""Small data sets that are hard on an engine: ties in time, users with one event, one user with nearly all events."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

NOW = 1_600_000_000
IDS = {"whole numbers": "{}", "large numbers": "30000000{:03}", "words": "u {}é", "below zero": "-{}"}
WORLDS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "users": st.integers(2, 12),
        "ids": st.sampled_from(sorted(IDS)),
        "parts": st.integers(1, 4),
        "seconds": st.sampled_from([1, 3, 1_000_000]),  # few: nearly all events are in one second with others
        "values": st.sampled_from(["", "stars", "reals"]),
        "most": st.sampled_from([1, 5, 400]),  # events of one user beside others that have one or two
        "listed": st.booleans(),  # whether a table lists the items, with up to three genres each
        "holdout": st.sampled_from(["last = 2", "share = 0.29", "share = 0.1\nat_least = 0"]),
    }
)


SKEWED: Final[dict[str, Any]] = {
    "seed": 1,
    "users": 200,
    "ids": "words",
    "parts": 2,
    "seconds": 4_000,
    "values": "stars",
    "most": 20_000,
    "listed": True,
    "holdout": "last = 10",
}


def written(world: dict[str, Any], folder: Path) -> Path:
    """A data set in CSV parts, in a new folder."""
    folder.mkdir()
    random = np.random.default_rng(world["seed"])
    lengths = random.integers(1, 3, world["users"])
    lengths[0] += world["most"]
    users = random.permutation(np.repeat(np.arange(1, world["users"] + 1), lengths))
    items = [1, 2, *random.integers(1, 30, len(users))][: len(users)]
    at = NOW + random.integers(0, world["seconds"], len(users)) / 4
    value = random.integers(1, 6, len(users)) if world["values"] == "stars" else random.integers(0, 400, len(users)) / 8
    user = [IDS[world["ids"]].format(number) for number in users]
    rows = [f"{u},{i},{t},{v}\n" for u, i, t, v in zip(user, items, at, value, strict=True)]
    for part, some in enumerate(np.array_split(np.arange(len(rows)), world["parts"])):
        (folder / f"log-{part}.csv").write_text("u,i,t,v\n" + "".join(rows[row] for row in some))
    declared = ['name = "world"', "[interactions]", 'file = "log-*.csv"', 'user = "u"', 'item = "i"', 'time = "t"']
    declared += ['value = "v"', "positive_above = 3"] if world["values"] else []
    if world["listed"]:
        genres = [random.choice(list("abcdef"), random.integers(0, 4), replace=False) for _ in range(30)]
        listed = "".join(f"{number},{'|'.join(kinds)}\n" for number, kinds in enumerate(genres, start=1))
        (folder / "items.csv").write_text(f"i,kinds\n{listed}")
        declared += ["[items]", 'id = "i"', 'attributes = { "kinds" = "multi-valued" }']
    (folder / "dataset.toml").write_text("\n".join([*declared, "[holdout]", world["holdout"]]))
    return folder
