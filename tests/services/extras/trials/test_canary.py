"""Canaries through the whole server and the real services: they roll back, advance, and outlive faults."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests
from requests import RequestException

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.trials import __main__ as commands
from extras.trials import changes
from extras.trials.decision import Decision
from extras.trials.serving import CanaryReport
from extras.trials.state import Canary, TrialError, Trials
from extras.trials.store import TrialStore
from offline_to_online.stores import base
from stack import commands as stack_commands
from stack.commands import by_name
from stack.supervision import Supervisor
from tests.own_stack import redis_of
from tests.services.conftest import ONE_WORLD, load_redis
from tests.services.online.load import (
    KINDS,
    SLOW_S,
    Answered,
    FaultProxy,
    bodies_of,
    kill,
    load,
    running,
)
from tests.unit.extras.trials.test_changes import started
from tests.unit.online.world import AT, SourceWorld, World
from tests.waiting import until

LASTS_S = 1.5
PATIENCE_S = 60.0
BUDGET_MS = 4_000
KEYS = "ml:canary*", "ml:trials", "ml:exposures*"
# So that two small worlds with unlike lists differ in no guardrail but errors
LIMITS: dict[str, float] = {
    "STEP_S": 1,
    "DEGRADED": 1,
    "SHORT": 1,
    "SCORES": 1,
    "SLOW": 1,
    "OVERLAP": 0,
    "WRONG": 1,
    "EVIDENCE": 1,
}


@pytest.fixture
def other(
    patient: Settings, world: World, worlds: dict[type[World], World]
) -> Iterator[World]:
    """A release that is published next to the active one. Afterwards there was never a canary."""
    other = worlds[SourceWorld]
    with redis_of(patient) as client:
        client.rpush(wire.PUBLISHED_KEY, other.release)
        yield other
        if gone := [key for pattern in KEYS for key in client.scan_iter(pattern)]:
            client.delete(*gone)
        load_redis(client, other)
        client.set(wire.LIVE_KEY, world.release)


@pytest.fixture
def served(
    patient: Settings,
    world: World,
    other: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[tuple[Settings, psutil.Process]]:
    """A parameter: other limits."""
    limits = LIMITS | getattr(request, "param", {})
    with serving(patient, tmp_path, monkeypatch, limits, other) as found:
        yield found


@contextmanager
def serving(
    patient: Settings,
    folder: Path,
    patch: pytest.MonkeyPatch,
    limits: dict[str, float],
    other: World,
    call_s: float = 2.5,
) -> Iterator[tuple[Settings, psutil.Process]]:
    """A server of two workers that have both releases loaded."""
    for name, value in limits.items():
        patch.setenv(f"RECSYS_CANARY__{name}", str(value))
    own = base.patient(patient, call_s).model_copy(update={"exchange_dir": folder})
    with running(folder, own, workers=2, threads=4, budget_ms=BUDGET_MS) as (
        settings,
        master,
    ):
        opened = lambda: all(ask(settings, 1, release=other.release) for _ in range(20))  # noqa: E731 (by both)
        until(opened, every_s=0.1, despite=(AssertionError,))
        yield settings, master


def remove(settings: Settings, other: World) -> None:
    """Remove a release's manifest and users: from now on its answers are from what the workers remember of a user."""
    with redis_of(settings) as client:
        users = [
            wire.user_key(other.release, other.own_user(user)) for user in other.userids
        ]
        client.delete(wire.manifest_key(other.release), *users)


def ask(settings: Settings, userid: int, **more: Any) -> Any:
    """Over a connection of its own, so that both workers get some."""
    response = requests.post(
        f"{settings.server.url}/ml/rec", json={"userid": userid, **more}, timeout=30
    )
    assert response.ok, response.text
    return response.json()


def canaries(settings: Settings) -> CanaryReport:
    found = requests.get(f"{settings.server.url}/ml/canary", timeout=30)
    assert found.ok, found.text
    return CanaryReport.model_validate_json(found.content)


def begun(settings: Settings, other: World, *, requests: int = 1_000_000) -> Canary:
    """A canary that may need more requests than there are, so that it does not advance."""
    with pytest.MonkeyPatch.context() as patch:
        start = partial(_started, changes.start_canary)
        patch.setattr(changes, "start_canary", start)
        canary = commands.start_canary(settings, other.release, 0.5, requests).canary
    assert canary is not None
    if requests > 3:  # else it may advance meanwhile
        heard = lambda: notes(settings) == {str(canary)}  # noqa: E731 (by both workers)
        until(heard, every_s=0.1, despite=(RequestException,))
    return canary


def _started(start: Callable[..., Trials], *given: Any, **more: Any) -> Trials:
    while True:  # until some of the twelve users are in each group
        found = start(*given, **more)
        assert found.canary is not None
        groups = [users_of(found.canary, group) for group in ("canary", "active")]
        if all(len(users) >= 3 for users in groups):
            return found


def users_of(canary: Canary, group: str) -> list[int]:
    return [user for user in range(1, 13) if canary.arm_of(user) == group]


def ended(settings: Settings) -> bool:
    return canaries(settings).running is None


@ONE_WORLD
@pytest.mark.parametrize("served", [{"DEGRADED": 0.3}], indirect=True)
def test_a_violated_guardrail_rolls_back_in_every_worker(
    served: tuple[Settings, psutil.Process], world: World, other: World, tmp_path: Path
) -> None:
    settings, _ = served
    canary = begun(settings, other)
    theirs, others = users_of(canary, "canary"), users_of(canary, "active")
    for user in world.userids:
        expected = other.release if user in theirs else world.release
        assert {ask(settings, user)["release"] for _ in range(8)} == {expected}
    assert (
        "canary of release"
        in requests.get(f"{settings.server.url}/readyz", timeout=30).text
    )
    remove(settings, other)
    for user in itertools.cycle([*theirs, *others]):
        ask(settings, user)
        if ended(settings):
            break
    last = canaries(settings).ended[0]
    assert (last.verdict, last.reason) == ("rolled back", "degraded")
    time.sleep(2.0)
    assert {ask(settings, user)["release"] for user in theirs for _ in range(8)} == {
        world.release
    }
    assert str(last) in requests.get(f"{settings.server.url}/readyz", timeout=30).text
    assert (tmp_path / "server.log").read_text().count(
        f"canary of release {other.release} rolled back"
    ) == 1


@ONE_WORLD
def test_it_is_activated_though_workers_and_redis_are_killed(
    served: tuple[Settings, psutil.Process],
    patient: Settings,
    world: World,
    other: World,
) -> None:
    settings, master = served
    begun(settings, other, requests=3)

    def active() -> str:
        with redis_of(settings) as client:
            return str(client.get(wire.LIVE_KEY), "utf-8")  # type: ignore[arg-type]

    with load(
        settings.server.url,
        bodies_of(world.userids, AT, BUDGET_MS),
        clients=4,
        pause_s=0.05,
    ) as answered:
        answered.wait(
            lambda answer: answer.body.get("release") == other.release, PATIENCE_S
        )
        master.children()[0].kill()
        kill(patient, "redis")
        stack_commands.wait_until_ready(patient, Supervisor(patient), by_name("redis"))
        until(
            lambda: active() == other.release,
            every_s=0.2,
            despite=(redis.RedisError,),
            within_s=120,
        )
        until(
            lambda: ended(settings),
            every_s=0.2,
            despite=(AssertionError, requests.RequestException),
        )
    last = canaries(settings).ended[0]
    assert (last.verdict, last.reason, last.share) == ("activated", "", 0.5)
    # the worker that was started in place of the killed one may still be loading it
    until(
        lambda: (
            {ask(settings, user)["release"] for user in world.userids}
            == {other.release}
        )
    )


# Faults


def expected(canary: Canary, world: World, other: World) -> dict[int, str]:
    """Who is answered from which release."""
    theirs = users_of(canary, "canary")
    return {
        user: other.release if user in theirs else world.release
        for user in world.userids
    }


def check_answers(found: list[Answered], expected: dict[int, str]) -> None:
    """All with a list, and of the user's release."""
    assert {each.status for each in found} == {200}, [
        each.body for each in found if each.status != 200
    ][:3]
    assert all(each.body["item_list"] for each in found)
    seen = {(each.body["userid"], each.body["release"]) for each in found}
    assert seen <= expected.items(), seen - expected.items()


def meets(name: str, answer: Answered) -> bool:
    """Whether an answer lacks the service, or has waited for it."""
    return name in answer.degraded or answer.seconds >= SLOW_S


def notes(settings: Settings) -> set[str]:
    """What each worker knows of the canary: requests over connections of their own."""
    found = [
        requests.get(f"{settings.server.url}/readyz", timeout=30).json()
        for _ in range(20)
    ]
    return {" ".join(each.get("notes", ())) for each in found}


@pytest.fixture
def proxies(patient: Settings) -> Iterator[dict[str, FaultProxy]]:
    """In front of each service."""
    triton = patient.triton.url
    there = {
        "redis": str(patient.redis.socket)
        if patient.redis.socket
        else patient.redis.port,
        "elasticsearch": patient.elasticsearch.port,
        "feast": patient.feast.port,
        "triton": triton.removeprefix("unix:")
        if triton.startswith("unix:")
        else patient.triton.http_port,
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(FaultProxy(service))
            for name, service in there.items()
        }


@pytest.fixture
def behind(
    patient: Settings,
    other: World,
    proxies: dict[str, FaultProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    """As `served`, of a server that reaches the services through the proxies."""
    ports: dict[str, Any] = {
        name: {"port": proxy.port} for name, proxy in proxies.items()
    }
    at = f"127.0.0.1:{proxies['triton'].port}"
    ports["redis"]["socket_dir"] = None
    ports["triton"] = {"socket_dir": None, "nodes": at}
    own = {
        name: getattr(patient, name).model_copy(update=changes)
        for name, changes in ports.items()
    }
    patient = patient.model_copy(update=own)
    with serving(patient, tmp_path, monkeypatch, LIMITS, other, call_s=1.5) as (
        settings,
        _,
    ):
        yield settings
    assert "unexpected error" not in (tmp_path / "server.log").read_text()


@ONE_WORLD
def test_each_fault_of_each_service_keeps_answers_and_releases(
    behind: Settings, proxies: dict[str, FaultProxy], world: World, other: World
) -> None:
    canary = begun(behind, other)
    of_users = expected(canary, world, other)
    with load(
        behind.server.url, bodies_of(world.userids, AT, 2_000), clients=4, pause_s=0.05
    ) as answered:
        for name, kind in itertools.product(proxies, KINDS):
            began = time.monotonic()
            with proxies[name].fault(kind):
                answered.wait(partial(meets, name), PATIENCE_S, began)
                time.sleep(0.5)
            answered.wait(lambda each: each.whole, PATIENCE_S)
            check_answers(answered.between(began, time.monotonic()), of_users)
        assert canaries(behind).running == canary
        assert notes(behind) == {str(canary)}

        with proxies["triton"].fault("silent"):  # it is stopped during a fault
            commands.changed(behind, changes.stop_canary)
            until(lambda: ended(behind), every_s=0.2)
            time.sleep(2.0)
            over = time.monotonic()
        for user in world.userids:
            answered.wait(
                lambda each, user=user: each.body["userid"] == user, PATIENCE_S, over
            )
        check_answers(
            answered.between(over, time.monotonic()),
            dict.fromkeys(world.userids, world.release),
        )
    last = canaries(behind).ended[0]
    assert last.verdict == "stopped"
    assert notes(behind) == {str(last)}


# The commands and the store


@ONE_WORLD
def test_commands_refuse_what_cannot_be(
    patient: Settings, world: World, other: World
) -> None:
    with pytest.raises(TrialError, match="No canary runs"):
        commands.changed(patient, changes.stop_canary)
    with pytest.raises(TrialError, match="is not published"):
        commands.start_canary(patient, "f" * 12)
    commands.start_canary(patient, other.release, 0.5)
    with pytest.raises(TrialError, match="A trial runs already"):
        commands.start_canary(patient, other.release)
    found = commands.changed(patient, changes.stop_canary)
    assert found.ended[0].verdict == "stopped"


@pytest.fixture
def store(settings: Settings) -> Iterator[TrialStore]:
    """On a Redis of the module's own."""
    with base.redis_client(settings) as client:
        client.flushdb()
    with closing(TrialStore(settings.redis)) as store:
        yield store


def test_many_who_decide_at_once_make_one_transition(store: TrialStore) -> None:
    canary = store.update(started).canary
    assert canary is not None

    def decide(canary: Canary, decision: Decision) -> list[Trials]:
        def change(before: Trials) -> Trials:
            return changes.follow_decision(before, canary, decision)

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: store.update(change), range(32)))

    found = decide(canary, Decision("advance"))
    assert {each.canary.step for each in found if each.canary} == {1}
    assert found[0].canary is not None
    decide(found[0].canary, Decision("roll back", "errors"))
    assert [each.verdict for each in store.call(None).ended] == ["rolled back"]


def test_counts_of_workers_add_up_by_step(store: TrialStore) -> None:
    canary = store.update(started).canary
    assert canary is not None
    assert store.counted(canary, {}) == {}
    store.counted(canary, {"canary:requests": 3})
    more = {"canary:requests": 4, "active:requests": 1}
    found = store.counted(canary, more)
    assert found == store.counted(canary, {})
    assert found == {"canary:requests": 7, "active:requests": 1}
    second = canary.model_copy(update={"step": 1})
    assert store.counted(second, {}) == {}
