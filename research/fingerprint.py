"""Digests of a recipe's artifacts, to compare two versions of the code: ``make fingerprint``.

Every user is replayed at the time of the first held-out rating, as in `make evaluate-offline`. Kept are digests of each
user's lists (each channel's candidates, the fused ones, the ranker's order), the best, mean and lowest of the ranker's
scores, and the metrics of all users.

Reads:  the artifacts of `make offline`
Writes: the file named by --output
Run:    python -m research.fingerprint --output before.json; after a change, with the steps run again:
        python -m research.fingerprint --output after.json --compare before.json
Expect: a minute or two on MovieLens-1M; with --compare exit status 1 and what differs, or one line that nothing does
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_exchange_center.files import write_json
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import replay
from extras.comparison import Floats
from extras.replay import Lists
from offline.readers import read_with_holdout
from research.evaluation.one_table import summary

log = logging.getLogger(__name__)

Fingerprint = Mapping[str, Any]
TOLERANCE = 1e-6  # of scores and metrics; lists have to be equal


def fingerprint(settings: Settings) -> dict[str, Any]:
    """Digests of lists, scores and metrics, for JSON. Raises ArtifactError when `make offline` has not run."""
    release = release_of_artifacts(settings)
    inputs = read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    answers = replay.answers(settings, holdout).shown()
    lists = {f"channel {name}": found for name, found in answers.channels.items()}
    lists |= {"fused": answers.fused, "ranked": answers.ranked}
    itemids = np.concatenate([[0], holdout.past.item_numbers])
    return {
        "command": "make fingerprint",
        "recipe": settings.recipe.name,
        "dataset": release.dataset.name,
        "users": holdout.past.user_numbers.tolist(),
        "parts": {part.path: part.sha256 for part in release.parts},
        "lists": {name: digests(itemids[found]) for name, found in lists.items()},
        "scores": scores_by_user(answers.scores),
        "metrics": {name: summary(holdout, found) for name, found in lists.items()},
    }


def digests(lists: Lists) -> list[str]:
    """(users, n) itemids in order -> the first 12 hex digits of each row's sha256."""
    return [
        hashlib.sha256(row.astype("<i8").tobytes()).hexdigest()[:12] for row in lists
    ]


def scores_by_user(scores: Floats) -> dict[str, list[float | None]]:
    """(users, n) scores, NaN where a list is shorter -> each user's best, mean and lowest; null without a list."""
    there = ~np.isnan(scores)
    some = there.sum(axis=1) > 0
    of = {
        "best": np.where(there, scores, -np.inf).max(axis=1),
        "mean": np.where(there, scores, 0).sum(axis=1)
        / np.maximum(there.sum(axis=1), 1),
        "lowest": np.where(there, scores, np.inf).min(axis=1),
    }
    return {
        name: [
            round(float(value), 9) if known else None
            for value, known in zip(values, some, strict=True)
        ]
        for name, values in of.items()
    }


def differences(
    one: Fingerprint, other: Fingerprint, tolerance: float = TOLERANCE
) -> Iterator[str]:
    """A sentence for each way in which ``one`` differs from ``other``; none where they agree."""
    for key in ("recipe", "dataset", "users"):
        if one[key] != other[key]:
            shown = "" if key == "users" else f": {one[key]!r} and {other[key]!r}"
            yield f"the {key} differ{'' if key == 'users' else 's'}{shown}"
            return  # nothing else can be compared
    for kind in ("lists", "metrics", "scores"):
        if one[kind].keys() != other[kind].keys():
            yield f"{kind} are of {sorted(one[kind])} and of {sorted(other[kind])}"
            return
    for name, found in one["lists"].items():
        changed = sum(
            mine != theirs
            for mine, theirs in zip(found, other["lists"][name], strict=True)
        )
        if changed:
            yield f"{name}: the lists of {changed:,} of {len(found):,} users differ"
    numbers = [
        (f"scores: the {name} of a user differs", "scores", name)
        for name in one["scores"]
    ]
    numbers += [
        (f"metrics of {name}: one differs", "metrics", name) for name in one["metrics"]
    ]
    for sentence, kind, name in numbers:
        if (distance := _furthest(one[kind][name], other[kind][name])) > tolerance:
            yield f"{sentence} by {distance:.3g}"


def _furthest(one: Any, other: Any) -> float:
    """The largest absolute difference; infinite if only one has a value, or the lengths differ."""
    mine, theirs = (
        np.array(
            list(each.values()) if isinstance(each, dict) else each, dtype=np.float64
        )
        for each in (one, other)
    )  # None: NaN
    if len(mine) != len(theirs) or (np.isnan(mine) != np.isnan(theirs)).any():
        return float("inf")
    return float(np.abs(mine - theirs)[~np.isnan(mine)].max(initial=0.0))


def compare(found: Fingerprint, path: Path, tolerance: float) -> None:
    """Raises StepError, saying what differs, unless ``found`` agrees with the fingerprint in the file."""
    try:
        other = json.loads(path.read_text(encoding="utf-8"))
        differ = list(differences(found, other, tolerance))
        changed = [
            name
            for name, sha256 in found["parts"].items()
            if other["parts"].get(name) != sha256
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepError(
            f"{path} is not a fingerprint ({error!r}): write one with --output."
        ) from error
    log.info("files with other bytes: %s", ", ".join(changed) or "none")
    if differ:
        raise StepError(f"not what {path} says: {'; '.join(differ)}.")
    log.info(
        "the same as %s: %s; scores and metrics within %g",
        path,
        ", ".join(found["lists"]),
        tolerance,
    )


def main(
    settings: Settings, output: Path | None, other: Path | None, tolerance: float
) -> None:
    found = fingerprint(settings)
    for name, metrics in found["metrics"].items():
        log.info(
            "%s: %s",
            name,
            ", ".join(f"{metric} {value:.4f}" for metric, value in metrics.items()),
        )
    if output:
        write_json(output, found)
        log.info("written: %s", output)
    if other:
        compare(found, other, tolerance)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="where the fingerprint is written")
    parser.add_argument(
        "--compare", type=Path, help="a fingerprint that this one has to agree with"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="of scores and metrics (%(default)s)",
    )
    given = parser.parse_args()
    run(lambda settings: main(settings, given.output, given.compare, given.tolerance))
