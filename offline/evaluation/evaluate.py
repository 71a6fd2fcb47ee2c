"""Evaluate recommendations: ``make evaluate`` of the running server, ``make evaluate-offline`` of the artifacts.

Recommends for every user at the moment of the user's first held-out rating, and compares that with what the user liked
among the held-out ten: with exact search over the artifacts, or, with --server, by requests to the server, which are
then compared with exact search. The baselines are fitted; with --with-source the source's recipe too: its steps are run
on the same data once, and their artifacts are kept. Two more protocols (`protocols.py`), next session and one moment
for all, need models that know less; these are fitted once for each release.

Reads:  the artifacts of `make offline`; with --server the server that serves them (`make up sync serve`)
Writes: pic/figures/evaluation_offline.json, or evaluation.json (another recipe's or published data set's: with its
        name); of your own data offline/evaluation/ in the exchange folder
Run:    python -m offline.evaluation.evaluate [--server] [--with-source]
Expect: a quarter of an hour on MovieLens-1M, a few minutes when the same release is evaluated again; with the default
        recipe recall@200 of at least 0.735 (popularity: 0.395), and in no protocol an order that is worse than
        recall's, or it fails
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import requests
from rich.console import Console
from rich.table import Column, Table
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.figures import FIGURES, OFFLINE, PIPELINE, named, write_figure
from data_exchange_center.http import local_session
from data_exchange_center.recipes import SOURCE, Recipe
from data_exchange_center.release_parts import DatasetIds, read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, progress, run
from offline import movielens
from offline.evaluation import protocols, replay, served
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import SHOWN, Answers, Holdout
from offline.evaluation.report import HEADLINES, check, per_user, plain, report
from offline.evaluation.served import EASE, POPULARITY, baselines
from offline.readers import read_with_holdout, recorded_rows
from offline.step_runner import run_steps

log = logging.getLogger(__name__)

Answerer = Callable[[Holdout], Answers]  # queries a running server for every user
Body = Mapping[str, Any]


def evaluate(
    settings: Settings, command: str, answerer: Answerer | None = None, source: Settings | None = None
) -> dict[str, Any]:
    """Report on the answers of the artifacts or, with ``answerer``, of the server that serves them.

    Args:
        command: repeats the evaluation; for the report.
        answerer: the running server, to be compared with exact search over the same artifacts.
        source: settings of the source's artifacts on the same data, as a baseline.

    Raises ArtifactError or StepError when `make offline` has not run, and what ``answerer`` raises.
    """
    seconds: dict[str, float] = {}
    inputs, name = read_with_holdout(settings), settings.recipe.name
    release = release_of_artifacts(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    recorded = recorded_rows(settings)
    if recorded:
        log.warning(
            "%d events of servers were trained on, and most came after the held-out ones: these metrics are "
            "better than without them. No figure is written; "
            "RECSYS_TRAIN_ON_EVENTS=false make offline trains without them.",
            recorded,
        )
    with timed("answers of exact search", seconds):
        answers = exact = served.answers(settings, holdout)
    if answerer:
        with timed("answers of the server", seconds):
            answers = answerer(holdout)
    with timed("baselines", seconds):
        systems = baselines(holdout, SHOWN)
    if source and name != SOURCE.name:
        with timed("the source's recipe", seconds):
            other = served.answers(source, holdout)
        systems |= {f"{SOURCE.name}: recall": other.fused, f"{SOURCE.name}: ranked": other.ranked}
    systems |= {f"{name}: channel {channel}": lists for channel, lists in answers.channels.items()}
    systems |= {f"{name}: recall": answers.fused, f"{name}: ranked": answers.ranked}

    def answers_to(requested: Holdout) -> tuple[Lists, Lists]:
        if requested is holdout:
            return answers.fused, answers.ranked
        found = answerer(requested) if answerer else served.answers(settings, requested)
        return found.fused, found.ranked

    with timed("the same requests as of now", seconds):
        in_session = protocols.compared(holdout, answers_to)
    log.info("metrics of %d systems", len(systems))
    found = report(holdout, systems, answers, inputs.genres.astype("float64"), (POPULARITY, EASE))
    opening = {**head(command, settings, settings.recipe), "release": release.release}
    if recorded:
        opening["trained on events of servers"] = recorded
    opening |= {"seconds": seconds, "protocols": {protocols.IN_SESSION: in_session}}
    if answerer:
        opening["live against exact"] = live_against_exact(holdout, answers, exact)
    return plain(opening | found)


def live_against_exact(holdout: Holdout, live: Answers, exact: Answers) -> dict[str, Any]:
    """Compare the running server with exact search over the artifacts.

    Per stage: share of exact search's items that the server returns too (mean over users), number of users whose lists
    are identical, and the mean difference of every headline metric.
    """
    live, exact = live.shown(), exact.shown()
    stages = {"fused": (live.fused, exact.fused), "ranked": (live.ranked, exact.ranked)}
    stages |= {f"channel {name}": (lists, exact.channels[name]) for name, lists in live.channels.items()}
    found = {}
    for stage, pair in stages.items():
        one, other = (per_user(holdout.relevance, holdout.judged(lists)) for lists in pair)
        found[stage] = {
            "shared": shared(*pair),
            "users with the same list": int((pair[0] == pair[1]).all(axis=1).sum()),
            "users": len(pair[0]),
            **{name: float(np.nanmean(one[name] - other[name])) for name in HEADLINES if name in one and name in other},
        }
    return found


def shared(first: Lists, second: Lists) -> float:
    """Share of the items of ``second`` that are on ``first`` too, mean over users who have some."""
    shares = [
        np.isin(other[other > 0], one[one > 0]).mean() for one, other in zip(first, second, strict=True) if other.any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


@contextmanager
def timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    """Log how long the block took and note it in ``seconds``."""
    log.info("%s", what)
    begin = time.perf_counter()
    yield
    seconds[what] = round(time.perf_counter() - begin, 1)
    log.info("%s: %.1f s", what, seconds[what])


def head(command: str, settings: Settings, recipe: Recipe, users: Holdout | None = None) -> dict[str, Any]:
    """Head of every report: command, data set, recipe; with ``users``, how many of them have a target."""
    counted = {} if users is None else {"users": int(np.count_nonzero(np.diff(users.relevance.indptr)))}
    dataset = artifacts.DATASET.read(settings.exchange_dir)["name"]
    return {"command": command, "dataset": dataset, "recipe": recipe.name, **counted}


def figure(found: Mapping[str, Any], settings: Settings, kind: str = "evaluation") -> Path:
    """Path of a report: its name carries the recipe unless it is the default, and the data set unless it is ML-1M; in
    `FIGURES`, or with the artifacts where the data set is not published."""
    name, dataset = named(kind, found["recipe"]), found["dataset"]
    folder = FIGURES if dataset in movielens.SETS else settings.offline_dir / "evaluation"
    return folder / (f"{name}.json" if dataset == movielens.ML_1M else f"{name}_{dataset}.json")


def write(found: Mapping[str, Any], settings: Settings, kind: str, code: Iterable[str]) -> None:
    """Write a report to the path `figure`, and log that. ``code``: as in `write_figure`."""
    path = figure(found, settings, kind)
    write_figure(path, found, code)
    log.info("written: %s", path)


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print the headline metrics as tables: all users, users without a past, each protocol."""
    console.print(_shown(f"{found['users']:,} users of {found['dataset']}", found["table"]))
    cold = found.get("without a past", {})
    if cold.get("users"):
        console.print(_shown(f"{cold['users']:,} users more, without a past, who are in no mean above", cold["table"]))
    for name, by_time in found.get("protocols", {}).items():
        rows = {
            f"{when}, {users} ({row['users']:,}): {order}": row[order]
            for when, groups in by_time.items()
            for users, row in groups.items()
            for order in ("recall", "ranked")
        }
        console.print(_shown(name, rows))


def _shown(title: str, rows: Mapping[str, Mapping[str, float | None]]) -> Table:
    names = list(next(iter(rows.values())))
    table = Table(Column("", no_wrap=True), *(Column(name, justify="right") for name in names), title=title)
    for system, row in rows.items():
        values = (row.get(name) for name in names)
        table.add_row(system, *("-" if value is None else f"{value:.4f}" for value in values))
    return table


# --- the source's recipe on the same data ---

FOLDER = "source_recipe"  # in the exchange folder's offline/


def source_artifacts(settings: Settings) -> Settings:
    """Settings of an exchange folder with the artifacts of the source's recipe on the same data.

    Runs the steps, for some minutes, unless artifacts of this recipe and data are there already; after a change of the
    steps' code remove the folder.
    """
    source = settings.model_copy(update={"recipe_name": SOURCE.name, "data": None})
    kept = source.model_copy(update={"exchange_dir": settings.offline_dir / FOLDER})
    try:
        release_of_artifacts(kept)  # whether they are of one run
        data, same = (artifacts.DATASET.read(each.exchange_dir)["sha256"] for each in (settings, kept))
        current = bool(data == same)
    except ArtifactError:
        current = False
    if current:
        log.info("the source's artifacts are those in %s", kept.exchange_dir)
        return kept
    for step in run_steps(source, kept.exchange_dir):
        log.info("%s: %.1f s", step["step"], step["seconds"])
    return kept


# --- answers of the running server, over HTTP ---

IN_FLIGHT = 4  # requests at a time: more would only queue, as the server runs on this machine
TIMEOUT_S = 30.0
OPENING = "release_opening"  # error code of a 503 while a worker opens a release
OPENING_S = 30.0  # until every worker serves a release that has gone live


def answers_of_server(settings: Settings) -> Answerer:
    """Requests to the server that serves the artifacts. Raises StepError when none does."""
    recall, release, url = settings.recipe.recall, release_of_artifacts(settings).release, settings.server.url
    expect_release(url, release)
    channels, own_ids = [channel.name for channel in recall.channels], read_own_ids(settings.exchange_dir)
    return lambda holdout: server_answers(url, release, channels, recall.candidates, holdout, own_ids)


def server_answers(
    url: str, release: str, channels: Sequence[str], size: int, holdout: Holdout, own_ids: DatasetIds
) -> Answers:
    """Request the recommendations of every user from the server at ``url``.

    Args:
        release: id of the release that it must serve.
        channels: names of the release's recall channels.
        size: number of candidates.
        own_ids: own ids of the users and items, which the server uses.

    Raises StepError when there is no server, when it serves another release, or when an answer is malformed.
    """
    expect_release(url, release)
    shown, users = min(size, SHOWN), holdout.past.n_users
    codes = {own_ids.items[number]: code for code, number in enumerate(holdout.past.itemids.tolist(), start=1)}
    sizes = dict.fromkeys((*channels, "fused"), size) | {"ranked": shown}
    lists = {name: np.zeros((users, width), dtype=np.int64) for name, width in sizes.items()}
    scores = np.full((users, shown), np.nan)
    for user, body in enumerate(_asked(url, release, holdout, shown, own_ids)):
        ranked = [item["itemid"] for item in body["item_list"]]
        recalled = {"fused": ranked} if body["cold_start"] else body["recall"]  # an unknown user gets the popular list
        for name, ids in {**recalled, "ranked": ranked}.items():
            if unknown := [own_id for own_id in ids if own_id not in codes]:
                raise StepError(f"The server recommends items that the artifacts do not know: {unknown}.")
            lists[name][user, : len(ids)] = [codes[own_id] for own_id in ids]
        scores[user, : len(ranked)] = [item["score"] for item in body["item_list"]]
    return Answers({name: lists[name] for name in channels}, lists["fused"], lists["ranked"], scores)


def expect_release(url: str, release: str) -> None:
    """Raise StepError unless the server at ``url`` is ready with ``release``."""
    try:
        with local_session() as session:
            ready = session.get(f"{url}/readyz", timeout=TIMEOUT_S).json()
        live = ready["release"]
    except (requests.JSONDecodeError, KeyError, TypeError) as error:
        raise StepError(f"What answers at {url} is not this server.") from error
    except requests.RequestException as error:
        raise StepError(f"No server answers at {url} ({error}). Start it: make up sync serve.") from error
    if live != release:
        raise StepError(
            f"The server at {url} serves release {live}, the artifacts are release {release}. Bring them to it with "
            "`make sync`, or name the exchange folder and the recipe that it serves."
        )


def _asked(url: str, release: str, holdout: Holdout, size: int, own_ids: DatasetIds) -> list[Body]:
    """Request an answer for every user, in the order of the users.

    Requests are strict, as a degraded answer says nothing of the recommendations. A worker that is still
    opening a release which has just gone live answers from the previous one, or with 503: its requests are repeated
    for a while.
    """
    opening = retry_if_result(lambda body: body.get("release") != release)
    times = zip(holdout.past.userids.tolist(), holdout.times.tolist(), strict=True)
    wanted = [
        {"userid": own_ids.users[number], "timestamp": time, "size": size, "explain": "recall", "strict": True}
        for number, time in times
    ]

    def ask(request: Body) -> Body:
        again = Retrying(stop=stop_after_delay(OPENING_S), wait=wait_fixed(0.2), retry=opening)
        try:
            return again(_answer, session, url, request)
        except RetryError as error:
            live = error.last_attempt.result().get("release")
            raise StepError(f"The server at {url} answers from release {live}, not {release}.") from error

    with ExitStack() as stack:
        session = stack.enter_context(local_session())  # its connections are the threads'
        pool = stack.enter_context(ThreadPoolExecutor(IN_FLIGHT))
        stack.callback(pool.shutdown, cancel_futures=True)  # after a failure no more requests are sent
        return list(progress(pool.map(ask, wanted), total=len(wanted), desc="requests", unit="user"))


def _answer(session: requests.Session, url: str, request: Body) -> Body:
    try:
        response = session.post(f"{url}/ml/rec", json=request, timeout=TIMEOUT_S)
        body: Body = response.json()
    except requests.RequestException as error:
        raise StepError(f"The server at {url} gave no answer for user {request['userid']!r} ({error}).") from error
    if not isinstance(body, dict):
        raise StepError(f"What answers at {url} is not this server.")
    found = body.get("error", {})
    if not response.ok and found.get("code") != OPENING:
        message = f"The server at {url} answered {response.status_code} for user {request['userid']!r}"
        raise StepError(f"{message}: {found.get('message', 'no reason')}")
    return body


# --- the command ---


def main(settings: Settings, *, server: bool = False, with_source: bool = False) -> None:
    answerer = answers_of_server(settings) if server else None  # before minutes are spent
    source = source_artifacts(settings) if with_source else None
    command = f"make evaluate{'' if server else '-offline'}{' with_source=1' if source else ''}"
    found = evaluate(settings, command, answerer, source)
    with timed("protocols with fits of their own", found["seconds"]):
        found["protocols"] |= protocols.fitted(settings, found["release"])
    write(found, settings, *(("evaluation", PIPELINE) if server else ("evaluation_offline", OFFLINE)))
    show(found, Console())
    check(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="store_true", help="evaluate the running server")
    parser.add_argument("--with-source", action="store_true", help="evaluate the source's recipe too")
    given = parser.parse_args()
    run(partial(main, server=given.server, with_source=given.with_source))
