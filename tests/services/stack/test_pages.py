"""Attacks of a web page that is open on this machine: it sends requests, and some answers it may not read.

A page of another origin sends "simple" requests without asking: GET and POST, with a body of text or of a form. By DNS
rebinding a page's own name turns into 127.0.0.1, and it sends whatever it likes, with its own name as Host.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import redis
import requests

from data_exchange_center import wire
from data_exchange_center.http import local_session
from data_exchange_center.settings import TRITON_SOCKET, Settings
from offline_to_online.stores.base import elastic_client, redis_client
from online.clients.http import Http
from stack.supervision import Supervisor

EVIL: Final = "evil.example"
SIMPLE: Final = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    None,
)
INDEX: Final = f"{wire.ITEM_ALIAS}-0123456789ab"
TENSOR: Final = {"name": "x", "data_type": "TYPE_FP32", "dims": [1]}
CONFIG: Final = {
    "backend": "python",
    "max_batch_size": 0,
    "input": [TENSOR],
    "output": [{**TENSOR, "name": "y"}],
}
SOURCE: Final = (
    "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
)


def sent(
    url: str, body: object, content_type: str | None, **headers: str
) -> requests.Response:
    """The service's answer to a POST of a page."""
    data = body if isinstance(body, str) else json.dumps(body)
    kind = {} if content_type is None else {"Content-Type": content_type}
    with local_session() as session:
        return session.post(
            url,
            data=data,
            headers={"Origin": f"http://{EVIL}", **kind, **headers},
            timeout=30,
        )


def as_its_own_name(url: str, body: object) -> requests.Response:
    """The same by DNS rebinding: Host and Origin are one, and the content type is free."""
    return sent(url, body, "application/json", Host=EVIL)


class TestTriton:
    """It listens on a socket that only its owner reaches, and loads no model by request, as a model is code."""

    def test_nobody_else_reaches_it(self, stack: Settings) -> None:
        folder = stack.triton.socket_dir
        assert folder is not None
        assert stack.triton.url == f"unix:{folder / TRITON_SOCKET}"
        assert folder.stat().st_mode & 0o777 == 0o700
        for connection in psutil.Process(
            Supervisor(stack).processes()["triton"]["pid"]
        ).net_connections("tcp"):
            assert connection.laddr.port == stack.triton.metrics_port

    @pytest.mark.parametrize(
        "path", ["repository/models/probe/load", "repository/models/ml_rec/unload"]
    )
    def test_no_request_loads_or_unloads_a_model(
        self, stack: Settings, tmp_path: Path, path: str
    ) -> None:
        source = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n{SOURCE}"
        encoded = base64.b64encode(source.encode()).decode()
        code = {
            "parameters": {"config": json.dumps(CONFIG), "file:1/model.py": encoded}
        }
        with closing(Http(stack.triton.url, timeout_s=30)) as http:
            answer = http.post(f"/v2/{path}", json.dumps(code).encode())
        assert answer.status != requests.codes.ok
        assert b"not allowed if polling is enabled" in answer.body
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (
                "systemsharedmemory/region/x/register",
                {"key": "/x", "offset": 0, "byte_size": 1},
            ),
            ("trace/setting", {"trace_level": ["TIMESTAMPS"]}),
            ("logging", {"log_verbose_level": 1}),
        ],
    )
    @pytest.mark.parametrize("header", ["x: y", "closed;", "closed: \\n"])
    def test_no_request_reaches_memory_or_files(
        self, stack: Settings, path: str, body: dict[str, Any], header: str
    ) -> None:
        with closing(Http(stack.triton.url, timeout_s=30)) as http:
            answer = http.post(f"/v2/{path}", json.dumps(body).encode(), header)
        assert answer.status == requests.codes.forbidden, answer.body


class TestElasticsearch:
    """It asks everybody for a password, also a page whose own name is this machine's by DNS rebinding."""

    @pytest.fixture
    def index(self, stack: Settings) -> Iterator[str]:
        with elastic_client(stack) as client:
            client.indices.create(index=INDEX)
            client.index(index=INDEX, id="1", document={"title": "kept"}, refresh=True)
            try:
                yield f"{stack.elasticsearch.url}/{INDEX}"
            finally:
                client.options(ignore_status=404).indices.delete(index=INDEX)

    @pytest.mark.parametrize("content_type", SIMPLE)
    def test_a_page_changes_nothing(
        self, stack: Settings, index: str, content_type: str | None
    ) -> None:
        doc = {"title": "changed"}
        for path, body in {
            "_doc/1": doc,
            "_doc": doc,
            "_close": "",
            "_delete_by_query?q=*": "",
            "_bulk": '{"delete":{"_id":"1"}}\n',
            "_forcemerge": "",
            "_refresh": "",
        }.items():
            answer = sent(f"{index}/{path}", body, content_type)
            assert answer.status_code == requests.codes.unauthorized, (
                path,
                answer.text,
            )
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert (
                as_its_own_name(f"{index}/{path}", body).status_code
                == requests.codes.unauthorized
            )
        with elastic_client(stack) as client:
            assert client.get(index=INDEX, id="1")["_source"] == {"title": "kept"}
            assert client.count(index=INDEX)["count"] == 1

    def test_a_foreign_origin_is_refused_with_the_password_too(
        self, stack: Settings, index: str
    ) -> None:
        with local_session() as session:
            session.auth = stack.elasticsearch.login
            answer = session.get(
                f"{index}/_doc/1", headers={"Origin": f"http://{EVIL}"}, timeout=30
            )
        assert answer.status_code == requests.codes.forbidden

    @pytest.mark.parametrize(
        "login",
        [None, ("elastic", ""), ("elastic", "wrong"), ("other", "the password")],
    )
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/"),
            ("GET", f"/{INDEX}/_doc/1"),
            ("DELETE", f"/{INDEX}"),
            ("PUT", "/_cluster/settings"),
            ("GET", "/%"),
        ],
    )
    def test_nobody_is_answered_without_the_password(
        self,
        stack: Settings,
        index: str,
        method: str,
        path: str,
        login: tuple[str, str] | None,
    ) -> None:
        more = {"search.max_buckets": 10**6}
        if login and login[1] == "the password":
            login = login[0], str(stack.elasticsearch.secret)
        with local_session() as session:
            answer = session.request(
                method,
                f"{stack.elasticsearch.url}{path}",
                json={"persistent": more},
                auth=login,
                timeout=30,
            )
        assert answer.status_code == requests.codes.unauthorized, answer.text
        with elastic_client(stack) as client:
            assert client.get(index=INDEX, id="1")["_source"] == {"title": "kept"}
            assert client.cluster.get_settings()["persistent"] == {}

    def test_a_request_without_the_password_hides_none_behind_it(
        self, stack: Settings, index: str
    ) -> None:
        hidden = (
            f"DELETE /{INDEX} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        )
        head = f"POST /{INDEX}/_doc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n".encode()
        with socket.create_connection(
            (stack.elasticsearch.host, stack.elasticsearch.port), timeout=30
        ) as connection:
            connection.sendall(head + hidden + hidden)
            assert connection.recv(4096).startswith(b"HTTP/1.1 401")
        with elastic_client(stack) as client:
            assert client.get(index=INDEX, id="1")["_source"] == {"title": "kept"}

    def test_it_listens_for_no_other_node(self, stack: Settings) -> None:
        """Nodes ask each other for no password."""
        process = psutil.Process(Supervisor(stack).processes()["elasticsearch"]["pid"])
        listening = [
            each
            for each in process.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        ]
        assert [each.laddr.port for each in listening] == [stack.elasticsearch.port]

    @pytest.mark.parametrize(
        "search",
        [
            {"query": {"regexp": {"title": ".*(a|b)*.*"}}},
            {"query": {"wildcard": {"title": "*a*"}}},
            {"query": {"script_score": {"query": {"match_all": {}}, "script": "1"}}},
            {"query": {"match_all": {}}, "script_fields": {"x": {"script": "1"}}},
            {
                "size": 0,
                "aggs": {
                    "many": {
                        "histogram": {
                            "field": "n",
                            "interval": 0.001,
                            "min_doc_count": 0,
                        }
                    }
                },
            },
            {"size": 10_001},
        ],
        ids=["regexp", "wildcard", "script_score", "script_fields", "buckets", "size"],
    )
    def test_a_search_that_would_cost_much_is_refused(
        self, stack: Settings, index: str, search: dict[str, Any]
    ) -> None:
        with elastic_client(stack) as client:
            for number in (0, 1_000_000):
                client.index(index=INDEX, document={"n": number}, refresh=True)
        with local_session() as session:
            answer = session.post(
                f"{index}/_search",
                json=search,
                auth=stack.elasticsearch.login,
                timeout=30,
            )
        assert answer.status_code == requests.codes.bad_request, answer.text

    def test_a_page_is_not_allowed_to_ask_for_more(
        self, stack: Settings, index: str
    ) -> None:
        with local_session() as session:
            requested = {
                "Origin": f"http://{EVIL}",
                "Access-Control-Request-Method": "DELETE",
            }
            answer = session.options(index, headers=requested, timeout=30)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Access-Control-Allow-Methods" not in answer.headers


def test_files_of_services_are_their_owners_alone(stack: Settings) -> None:
    assert (stack.exchange_dir / "online").stat().st_mode & 0o777 == 0o700
    for name in ("logs", "redis", "secrets", "supervisor"):
        for path in stack.service_dir(name).rglob("*"):
            if path.is_file():
                assert path.stat().st_mode & 0o077 == 0, path


class TestFeast:
    """It reads alone, and for its own names."""

    @pytest.mark.parametrize(
        "path",
        [
            "push",
            "write-to-online-store",
            "materialize",
            "materialize-incremental",
            "chat",
        ],
    )
    def test_nothing_writes_over_http(self, stack: Settings, path: str) -> None:
        answer = sent(f"{stack.feast.url}/{path}", {}, "application/json")
        assert answer.status_code in (
            requests.codes.not_found,
            requests.codes.method_not_allowed,
        )

    @pytest.mark.parametrize("content_type", SIMPLE)
    def test_a_page_is_answered_nothing(
        self, stack: Settings, content_type: str | None
    ) -> None:
        question = {"feature_service": wire.USER_SERVICE, "entities": {"userid": [1]}}
        url = f"{stack.feast.url}/get-online-features"
        assert (
            sent(url, question, content_type).status_code
            == requests.codes.unprocessable_entity
        )
        assert as_its_own_name(url, question).status_code == requests.codes.bad_request

    def test_another_name_is_refused_for_whatever_it_asks(
        self, stack: Settings
    ) -> None:
        with local_session() as session:
            for path in ("health", "openapi.json", "docs"):
                answer = session.get(
                    f"{stack.feast.url}/{path}", headers={"Host": EVIL}, timeout=30
                )
                assert answer.status_code == requests.codes.bad_request


class TestRedis:
    """It listens on a socket that only its owner reaches, and asks for the password there, too."""

    def test_nobody_else_reaches_it(self, stack: Settings) -> None:
        folder = stack.redis.socket_dir
        assert folder is not None
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (
            psutil.Process(
                Supervisor(stack).processes()["redis"]["pid"]
            ).net_connections("tcp")
            == []
        )

    def test_programs_without_the_generated_password_are_refused(
        self, stack: Settings
    ) -> None:
        with (
            redis.Redis(unix_socket_path=str(stack.redis.socket)) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()
        path = stack.password_file("redis")
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (
            0o600,
            0o700,
        )

    def test_its_password_is_in_no_command_line_and_in_no_log(
        self, stack: Settings
    ) -> None:
        password = stack.redis.secret
        assert password is not None
        for process in psutil.process_iter(["cmdline"]):
            assert password not in " ".join(process.info["cmdline"] or ())
        for log in stack.service_dir("logs").iterdir():
            assert password not in log.read_text(errors="replace"), log

    @pytest.mark.parametrize(
        "start", ["POST / HTTP/1.1", "GET /x HTTP/1.1\r\nHost: 127.0.0.1"]
    )
    def test_commands_in_a_body_are_not_carried_out(
        self, stack: Settings, start: str
    ) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(stack.redis.socket))
            connection.sendall(
                f"{start}\r\nHost: {EVIL}\r\n\r\nSET probe 1\r\n".encode()
            )
            while connection.recv(4096):  # until it hangs up
                pass
        with redis_client(stack) as client:
            assert not client.exists("probe")
