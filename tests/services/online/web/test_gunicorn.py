"""The server as `make serve` runs it: too many at once, the end of a worker, numbers of all workers, secrets."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import requests
from pydantic import SecretStr

from data_exchange_center.settings import ServerSettings, Settings
from examples.recent_channel import RECIPE
from extras.keys import store as keys
from online.web.asgi import RETRY_AFTER_S
from stack import server as stack_server
from stack.images import entry_points
from stack.service import ROOT
from tests.free_ports import settings_on_free_ports
from tests.metrics_page import requests_of, value
from tests.services.online.gunicorn_server import running
from tests.waiting import until

THREADS, IN_FLIGHT, BEYOND = 2, 8, 8
REDIS_TIMEOUT_S = 5.0  # a busy machine has all requests there before, and has refused those that are too many


@contextmanager
def stuck(folder: Path) -> Iterator[Settings]:
    """A server whose Redis takes connections and says nothing."""
    settings = settings_on_free_ports(folder)
    redis = settings.redis.model_copy(
        update={"timeout_s": REDIS_TIMEOUT_S, "socket_dir": None}
    )
    with (
        socket.create_server(("127.0.0.1", redis.port), backlog=200),
        running(
            folder,
            settings.model_copy(update={"redis": redis}),
            workers=1,
            threads=THREADS,
            max_in_flight=IN_FLIGHT,
        ) as (settings, _),
    ):
        yield settings


def read(settings: Settings, path: str, status: int = 200) -> str:
    response = requests.get(f"{settings.server.url}/{path}", timeout=30)
    assert response.status_code == status
    return response.text


def ask(settings: Settings) -> tuple[float, requests.Response]:
    """Seconds, and the answer to a request that waits for Redis."""
    began = time.perf_counter()
    response = requests.get(f"{settings.server.url}/ml/experiments", timeout=90)
    return time.perf_counter() - began, response


def test_requests_beyond_the_queue_get_503_and_healthz_answers(tmp_path: Path) -> None:
    with stuck(tmp_path) as settings:
        with ThreadPoolExecutor(IN_FLIGHT + BEYOND) as clients:
            requested = [
                clients.submit(ask, settings) for _ in range(IN_FLIGHT + BEYOND)
            ]
            one = HTTPConnection(settings.server.host, settings.server.port, timeout=90)
            refused = lambda: [  # noqa: E731
                a.result()
                for a in requested
                if a.done() and a.result()[1].status_code == 503
            ]
            until(lambda: len(refused()) >= BEYOND)
            for path in ("healthz", "metrics"):
                read(settings, path)
            one.request("POST", "/ml/rec", b'{"userid": 1}')
            response = one.getresponse()
            assert json.loads(response.read())["error"]["code"] == "overloaded"
            one.auto_open = 0  # type: ignore[assignment]  # a connection that is closed is not made again
            one.request("POST", "/ml/rec", b'{"userid": -1}')
            one.getresponse().read()
        overloaded = [
            (s, r) for s, r in refused() if r.json()["error"]["code"] == "overloaded"
        ]
        assert len(overloaded) == BEYOND
        for seconds, answer in overloaded:
            assert seconds < 0.75 * REDIS_TIMEOUT_S
            assert answer.headers["Retry-After"] == str(RETRY_AFTER_S)
        refused_total = value(
            read(settings, "metrics"), "refused_total", code="overloaded"
        )
        assert refused_total >= BEYOND + 1
        assert ask(settings)[1].json()["error"]["code"] != "overloaded"


# Workers


def test_a_server_that_is_stopped_answers_what_it_has_in_hand(tmp_path: Path) -> None:
    with stuck(tmp_path) as settings, ThreadPoolExecutor(IN_FLIGHT) as clients:
        requested = [clients.submit(ask, settings) for _ in range(THREADS)]
        in_flight = "requests_in_flight"
        until(lambda: value(read(settings, "metrics"), in_flight) == THREADS)
    # here the server has ended
    assert [answer.result()[1].json()["error"]["service"] for answer in requested] == [
        "redis"
    ] * THREADS
    assert "SIGKILL" not in (tmp_path / "server.log").read_text()


def test_gunicorn_opens_no_control_socket(tmp_path: Path) -> None:
    """Which would lie in the home folder, shared by all stacks."""
    with running(tmp_path, workers=1) as (settings, master):
        (worker,) = master.children()
        until(lambda: (settings.workers_dir("workers") / str(worker.pid)).exists())
        assert [
            each.laddr for each in master.net_connections("unix") if each.laddr
        ] == []


def test_workers_are_counted_together(tmp_path: Path) -> None:
    with running(tmp_path, workers=2, threads=3) as (settings, master):

        def page() -> str:
            return read(settings, "metrics")

        for _ in range(30):  # a connection each, so that both workers get some
            read(settings, "nowhere", 404)
        assert requests_of(page(), 404, "not_found", "unmatched") == 30
        until(lambda: value(page(), "threads") == 6)
        former = master.children()
        until(
            lambda: stack_server.workers(settings) == {worker.pid for worker in former}
        )
        former[0].kill()
        until(lambda: len(stack_server.workers(settings) - {former[0].pid}) == 2)
        # the dead one's threads are gone, the new one's have come
        until(
            lambda: value(page(), "threads") == 6, despite=(requests.ConnectionError,)
        )
        # what the dead one counted stays
        assert requests_of(page(), 404, "not_found", "unmatched") == 30
        left = [path.name for path in settings.service_dir("server").rglob("*.db")]
        assert not [
            name for name in left if "live" in name and str(former[0].pid) in name
        ]
    with running(tmp_path, port=settings.server.port, workers=1):
        assert requests_of(page(), 404, "not_found", "unmatched") == 0
        assert value(page(), "threads") == ServerSettings().threads


def test_a_recipe_file_with_a_channel_of_an_installed_package(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "pyproject.toml", tmp_path)
    entry_points.main(tmp_path)
    recipe = tmp_path / "recent.json"
    recipe.write_text(RECIPE.model_dump_json(), encoding="utf-8")
    settings = settings_on_free_ports(tmp_path).model_copy(
        update={"recipe_name": str(recipe)}
    )
    (tmp_path / "recsys_pipeline.dist-info").rename(
        tmp_path / "recsys_examples.dist-info"
    )
    with running(tmp_path, settings, {"PYTHONPATH": str(tmp_path)}, workers=1) as (
        settings,
        _,
    ):
        read(settings, "healthz")


# Secrets are in no log, no answer and no metric, whatever goes wrong

REDIS, ELASTIC, OWN = "hush-redis", "hush-elastic", "hush-own-key"


def test_secrets_appear_nowhere(tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    settings = settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"password": SecretStr(REDIS)}),
            "elasticsearch": settings.elasticsearch.model_copy(
                update={"password": SecretStr(ELASTIC)}
            ),
        }
    )
    key = keys.add(settings.keys_file, "shop")
    digest = keys.read(settings.keys_file)["shop"].digest
    more = {
        "workers": 1,
        "keys_for": "all",
        "rate": "100/second",
        "key": SecretStr(OWN),
    }
    with running(tmp_path, settings, **more) as (settings, _):
        url, good = settings.server.url, {"Authorization": f"Bearer {key}"}
        wrong = {"Authorization": f"Bearer {key}x"}
        sent = [
            ("POST", "ml/rec", good, 1),  # no service is there
            ("POST", f"ml/rec?key={key}", good, 0),
            ("POST", "ml/rec", wrong, 1),
            ("GET", "ml/rec", good, None),
            ("GET", "readyz", {}, None),
            ("GET", "metrics", good, None),
        ]
        answers = [
            requests.request(
                method,
                f"{url}/{path}",
                headers=headers,
                json=None if userid is None else {"userid": userid},
                timeout=30,
            )
            for method, path, headers, userid in sent
        ]
    assert [answer.status_code for answer in answers] == [503, 400, 401, 405, 503, 200]
    log = (tmp_path / "server.log").read_text()
    assert '"key": "shop"' in log
    reported = log + "".join(answer.text + str(answer.headers) for answer in answers)
    assert [
        secret for secret in (REDIS, ELASTIC, OWN, key, digest) if secret in reported
    ] == []
