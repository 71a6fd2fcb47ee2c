"""Evaluate the running server: ``make evaluate``.

Sends one request for every user, at the holdout's times, and makes the table of `one_table.py` of the
answers.

Reads:  the artifacts of the live release, or of the recipe that RECSYS_RECIPE names, and the server that serves them
        (`make offline up sync serve`)
Writes: offline/evaluation/evaluation.json in the exchange folder; in users/ every user's metrics
Run:    python -m research.evaluation.running_server
Expect: two minutes on MovieLens-1M; the table of `make evaluate-offline`
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import requests
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center.http import local_session
from data_exchange_center.release_parts import (
    DatasetIds,
    read_own_ids,
    release_of_artifacts,
)
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, progress, run
from extras.replay import SHOWN, Answerer, Answers, Holdout
from offline_to_online.releases import settings_of_live
from research.evaluation import one_table

Body = Mapping[str, Any]
# requests at a time: more would only queue, as the server runs on this machine
IN_FLIGHT = 4
TIMEOUT_S = 30.0
OPENING = "release_opening"  # error code of a 503 while a worker opens a release
OPENING_S = 30.0  # until every worker serves a release that has gone live


def answers_of_server(settings: Settings) -> Answerer:
    """Requests to the server that serves the artifacts. Raises StepError when none does."""
    recall, release, url = (
        settings.recipe.recall,
        release_of_artifacts(settings).release,
        settings.server.url,
    )
    expect_release(url, release)
    channels, own_ids = (
        [channel.name for channel in recall.channels],
        read_own_ids(settings.artifacts_dir),
    )
    return lambda holdout: server_answers(
        url, release, channels, recall.candidates, holdout, own_ids
    )


def server_answers(
    url: str,
    release: str,
    channels: Sequence[str],
    size: int,
    holdout: Holdout,
    own_ids: DatasetIds,
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
    codes = {
        own_ids.items[number]: code
        for code, number in enumerate(holdout.past.item_numbers.tolist(), start=1)
    }
    sizes = dict.fromkeys((*channels, "fused"), size) | {"ranked": shown}
    lists = {
        name: np.zeros((users, width), dtype=np.int64) for name, width in sizes.items()
    }
    scores = np.full((users, shown), np.nan)
    for user, body in enumerate(_requested(url, release, holdout, shown, own_ids)):
        ranked = [item["itemid"] for item in body["item_list"]]
        # an unknown user gets the popular list
        recalled = {"fused": ranked} if body["cold_start"] else body["recall"]
        for name, ids in {**recalled, "ranked": ranked}.items():
            if unknown := [own_id for own_id in ids if own_id not in codes]:
                raise StepError(
                    f"The server recommends items that the artifacts do not know: {unknown}."
                )
            lists[name][user, : len(ids)] = [codes[own_id] for own_id in ids]
        scores[user, : len(ranked)] = [item["score"] for item in body["item_list"]]
    return Answers(
        {name: lists[name] for name in channels},
        lists["fused"],
        lists["ranked"],
        scores,
    )


def expect_release(url: str, release: str) -> None:
    """Raise StepError unless the server at ``url`` is ready with ``release``."""
    try:
        with local_session() as session:
            ready = session.get(f"{url}/readyz", timeout=TIMEOUT_S).json()
        live = ready["release"]
    except (requests.JSONDecodeError, KeyError, TypeError) as error:
        raise StepError(f"What answers at {url} is not this server.") from error
    except requests.RequestException as error:
        raise StepError(
            f"No server answers at {url} ({error}). Start it: make up sync serve."
        ) from error
    if live != release:
        raise StepError(
            f"The server at {url} serves release {live}, the artifacts are release {release}. Run `make sync` to serve "
            "the artifacts, or `make offline` with the data set and the recipe of the served release. A server that "
            "started before a package of the recipe was installed serves none: `make serve`."
        )


def _requested(
    url: str, release: str, holdout: Holdout, size: int, own_ids: DatasetIds
) -> list[Body]:
    """Request an answer for every user, in the order of the users.

    Requests are strict, as a degraded answer says nothing of the recommendations. A worker that is still
    opening a release which has just gone live answers from the previous one, or with 503: its requests are repeated
    for a while.
    """
    opening = retry_if_result(lambda body: body.get("release") != release)
    times = zip(holdout.past.user_numbers.tolist(), holdout.times.tolist(), strict=True)
    wanted = [
        {
            "userid": own_ids.users[number],
            "timestamp": time,
            "size": size,
            "explain": "recall",
            "strict": True,
        }
        for number, time in times
    ]

    def ask(request: Body) -> Body:
        again = Retrying(
            stop=stop_after_delay(OPENING_S), wait=wait_fixed(0.2), retry=opening
        )
        try:
            return again(_answer, session, url, request)
        except RetryError as error:
            live = error.last_attempt.result().get("release")
            raise StepError(
                f"The server at {url} answers from release {live}, not {release}."
            ) from error

    with ExitStack() as stack:
        # its connections are the threads'
        session = stack.enter_context(local_session())
        pool = stack.enter_context(ThreadPoolExecutor(IN_FLIGHT))
        # after a failure no more requests are sent
        stack.callback(pool.shutdown, cancel_futures=True)
        return list(
            progress(
                pool.map(ask, wanted), total=len(wanted), desc="requests", unit="user"
            )
        )


def _answer(session: requests.Session, url: str, request: Body) -> Body:
    try:
        response = session.post(f"{url}/ml/rec", json=request, timeout=TIMEOUT_S)
        body: Body = response.json()
    except requests.RequestException as error:
        raise StepError(
            f"The server at {url} gave no answer for user {request['userid']!r} ({error})."
        ) from error
    if not isinstance(body, dict):
        raise StepError(f"What answers at {url} is not this server.")
    found = body.get("error", {})
    if not response.ok and found.get("code") != OPENING:
        message = f"The server at {url} answered {response.status_code} for user {request['userid']!r}"
        raise StepError(f"{message}: {found.get('message', 'no reason')}")
    return body


def main(settings: Settings) -> None:
    settings = settings_of_live(settings)
    one_table.main(settings, answers_of_server(settings))


if __name__ == "__main__":
    run(main, about=__doc__)
