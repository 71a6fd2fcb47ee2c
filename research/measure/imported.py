"""Models of other libraries, from their files to served answers: ``make evaluate-imported``.

Every model is trained by its library in an environment of its own, on what `make export-events` writes. Then it goes
live by a user's commands, timed together: the import, the offline steps, the load of the stores, until every worker
answers from it. Measured are plain requests, one at a time, to the recipe's own release and to each model's, and
recall@50 of the held-out events twice: of the library's own lists, which it exports for all users, and of the lists
that the stack makes.

Bundles are kept in offline/imported/ in the exchange folder, so an interrupted run resumes. The last model is live
afterwards, and its artifacts are in the exchange folder: `make offline sync` makes the recipe's own again.

Reads:  offline/{users,items,ratings}.parquet; the services and the server, after `make offline up sync serve`
Writes: pic/figures/imported_models.json (of another data set: with its name)
Run:    python -m research.measure.imported [--one-of-each-kind] [--only implicit_als ...]
Expect: a minute or two for each model on MovieLens-100K
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import replay
from extras.models import bundle
from extras.models.__main__ import export_events, own_ids
from extras.replay import Holdout, Lists
from offline.readers import read_with_holdout
from offline_to_online.stores.redis import RedisStore
from research import figures
from research.bench.load import Drawn, known_userids
from research.bench.processes import parts_of
from research.bench.serving import levels_of, measure, until_served
from research.evaluation.metrics import per_user
from research.figures import plain

log = logging.getLogger(__name__)

MODELS: Final = {  # exporter, which begins with its library's name -> its models
    "implicit": ("als", "bpr"),
    "rectools_sequences": ("sasrec", "esasrec"),
}
NAMES: Final = {  # name of the model, as in its bundle -> exporter, model
    f"{exporter.split('_')[0]}_{model}": (exporter, model)
    for exporter, models in MODELS.items()
    for model in models
}
# One of each kind: vectors, encoder -> what its exporter gets, too. They show time, not quality.
ONE_OF_EACH: Final = {
    "implicit_als": (),
    "rectools_sasrec": ("--epochs", "1"),
}
METRIC: Final = "recall@50"
REQUESTS: Final = 500  # one after another


def execute(*command: str, **variables: str) -> float:
    """Run a command in the root; its seconds. Raises StepError where it fails."""
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=figures.ROOT,
        env={**os.environ, **variables},
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise StepError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
    return time.monotonic() - began


def export(name: str, events: Path, *more: str) -> tuple[Path, float]:
    """The bundle of a model with its lists for all users, and the seconds of training and export; kept.

    ``more``: arguments of the exporter.
    """
    exporter, model = NAMES[name]
    kept = "".join((name, *more))
    folder, part = events / kept, events / f".{kept}"
    if not folder.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        python = ("--python", sys.executable) if sys.version_info < (3, 13) else ()
        script = str(figures.ROOT / f"extras/models/exporters/from_{exporter}.py")
        uv = str(Path(sys.executable).with_name("uv"))
        given = ("--model", model, *more)
        seconds = execute(
            uv,
            "run",
            "--quiet",
            *python,
            script,
            str(events),
            str(part),
            *given,
            EXPORTED_USERS=str(10**9),
        )
        (part / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")
        part.rename(folder)
    return folder, json.loads((folder / "seconds.json").read_text(encoding="utf-8"))


def library_lists(settings: Settings, folder: Path, holdout: Holdout) -> Lists:
    """(users, 50) item codes of the lists in a bundle; 0 for users without a list and after a list's end."""
    users, items = (
        {each: row for row, each in enumerate(ids)} for ids in own_ids(settings)
    )
    expected = bundle.read_expected(folder)
    lists = np.zeros((holdout.past.n_users, 50), np.int64)
    for user, (listed, _) in expected.items():
        lists[users[user], : len(listed)] = [1 + items[each] for each in listed]
    return lists


def quality(settings: Settings, folder: Path) -> dict[str, Any]:
    """Recall of the held-out events: the library's own lists, and the stack's, with the artifacts as they are."""
    inputs = read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    both = {
        "library": library_lists(settings, folder, holdout),
        "stack": replay.answers(settings, holdout).ranked[:, :50],
    }
    found = {
        name: per_user(holdout.relevance, holdout.judged(lists))[METRIC]
        for name, lists in both.items()
    }
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def go_live(settings: Settings, recipe: Path, folder: Path) -> dict[str, float]:
    """Import a bundle, and wait until every worker answers from it: seconds of the import, and of all."""
    began = time.monotonic()
    imported = execute("make", "import-model", f"bundle={folder}")
    for target in ("offline", "sync"):
        execute("make", target, RECSYS_RECIPE=str(recipe))
    until_served(
        settings.server.url, known_userids(settings)[:32], live_release(settings)
    )
    return {"import_s": imported, "live_s": time.monotonic() - began}


def live_release(settings: Settings) -> str:
    """The release that answers. Raises StepError where there is none."""
    live, _ = RedisStore(settings).listed()
    if live is None:
        raise StepError("no release is live: run make sync")
    return live


def one(
    settings: Settings, name: str, events: Path, more: Sequence[str]
) -> dict[str, Any]:
    """A row of the table. ``more``: as of `export`."""
    folder, trained = export(name, events, *more)
    recipe = settings.exchange_dir / "models" / f"{name}.json"
    times = go_live(settings, recipe, folder)
    speed = plain_requests(settings)
    about = bundle.about(folder)
    found = quality(settings.model_copy(update={"recipe_name": str(recipe)}), folder)
    return {
        "kind": about.kind,
        "library": about.library,
        "trained_s": trained,
        **times,
        **speed,
        METRIC: found,
    }


def plain_requests(settings: Settings) -> dict[str, float]:
    """p50 and processor milliseconds of a request to the live release, one at a time."""
    drawn, parts = Drawn(known_userids(settings), 0), parts_of(settings)
    turn = measure(
        settings.server.url,
        drawn,
        [1],
        REQUESTS,
        release=live_release(settings),
        parts=parts,
    )
    level, *_ = levels_of([turn])
    return {"p50_ms": level["p50_ms"], "processor_ms": level["processor_ms"]["all"]}


def main(
    settings: Settings, *, only: Collection[str] = (), of_each_kind: bool = False
) -> None:
    wanted: Mapping[str, Sequence[str]] = (
        ONE_OF_EACH if of_each_kind else dict.fromkeys(NAMES, ())
    )
    options = " options=--one-of-each-kind" if of_each_kind else ""
    opening = figures.head(
        f"make evaluate-imported{options}", settings, settings.recipe
    )
    path = figures.path_of(opening, settings, "imported_models", part=bool(only))
    found = figures.resumed(path, opening, {"own": {}, "rows": {}})
    if not found["own"]:
        found["own"] = plain_requests(settings)
        figures.write(path, found, finished=False)
    events = settings.offline_dir / "imported"
    export_events(settings, events)
    for name, more in wanted.items():
        if name not in found["rows"] and (not only or name in only):
            found["rows"][name] = plain(one(settings, name, events, more))
            log.info("%s: %s", name, found["rows"][name])
            figures.write(path, found, finished=False)
    figures.write(path, found, finished=set(wanted) <= set(found["rows"]))
    figures.show(found["rows"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=[])
    parser.add_argument("--one-of-each-kind", action="store_true")
    given = parser.parse_args()
    run(partial(main, only=given.only, of_each_kind=given.one_of_each_kind))
