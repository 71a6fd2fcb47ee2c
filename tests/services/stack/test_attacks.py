"""Attacks of a web page that is open on this machine: it sends requests, and some answers it may not read.

A page of another origin sends "simple" requests without asking: GET and POST, with a body of text or of a form. By DNS
rebinding a page's own name turns into 127.0.0.1, and it sends whatever it likes, with its own name as Host.
"""

import base64
import json
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import onnx
import psutil
import pytest
import redis
import requests
from onnx import TensorProto, helper
from tenacity import (
    retry,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)

from data_exchange_center import wire
from data_exchange_center.http import local_session
from data_exchange_center.settings import TRITON_SOCKET, Settings
from extras.doctor import __main__ as doctor
from offline_to_online.stores.base import elastic_client, redis_client
from online.clients.http import Http, HttpAnswer
from online.recommend.recommend import Recommender
from stack.redis import REDIS
from stack.service import LOOPBACK, NotReadyError
from stack.supervision import Supervisor, members
from stack.triton.service import TRITON
from tests.free_ports import settings_on_free_ports
from tests.own_stack import own_stack

EVIL: Final = "evil.example"
ORIGIN: Final = f"http://{EVIL}"
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


def ask(method: str, url: str, **more: Any) -> requests.Response:
    with local_session() as session:
        return session.request(method, url, timeout=30, **more)


def sent(
    url: str, body: object, content_type: str | None, **headers: str
) -> requests.Response:
    """The service's answer to a POST of a page."""
    data = body if isinstance(body, str) else json.dumps(body)
    if content_type is not None:
        headers["Content-Type"] = content_type
    return ask("POST", url, data=data, headers={"Origin": ORIGIN, **headers})


def as_its_own_name(url: str, body: object) -> int:
    """Status of the same by DNS rebinding: Host and Origin are one, and the content type is free."""
    return sent(url, body, "application/json", Host=EVIL).status_code


def to_triton(settings: Settings, path: str, body: object, *headers: str) -> HttpAnswer:
    with closing(Http(settings.triton.url, timeout_s=30)) as http:
        return http.post(f"/v2/{path}", json.dumps(body).encode(), *headers)


def listening(settings: Settings, service: str) -> set[int]:
    """Ports that a service listens on."""
    process = psutil.Process(Supervisor(settings).processes()[service]["pid"])
    connections = process.net_connections("tcp")
    return {
        each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN
    }


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# Redis and Triton listen on sockets that their owner alone reaches.


def test_nobody_else_reaches_the_sockets(stack: Settings) -> None:
    for folder in (stack.redis.socket_dir, stack.triton.socket_dir):
        assert folder is not None
        assert mode(folder) == 0o700
    assert stack.triton.url == f"unix:{stack.triton.socket_dir}/{TRITON_SOCKET}"
    assert listening(stack, "triton") == {stack.triton.metrics_port}
    assert listening(stack, "redis") == set()


# Triton loads no model by request, as a model is code.


@pytest.mark.parametrize("path", ["models/probe/load", "models/ml_rec/unload"])
def test_no_request_loads_or_unloads_a_model(
    stack: Settings, tmp_path: Path, path: str
) -> None:
    ran = tmp_path / "ran"
    source = f"from pathlib import Path\nPath({str(ran)!r}).touch()\n{SOURCE}"
    encoded = base64.b64encode(source.encode()).decode()
    code = {"config": json.dumps(CONFIG), "file:1/model.py": encoded}
    answer = to_triton(stack, f"repository/{path}", {"parameters": code})
    assert answer.status != requests.codes.ok
    assert b"not allowed if polling is enabled" in answer.body
    assert not ran.exists()


REGION: Final = {"key": "/x", "offset": 0, "byte_size": 1}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("systemsharedmemory/region/x/register", REGION),
        ("trace/setting", {"trace_level": ["TIMESTAMPS"]}),
        ("logging", {"log_verbose_level": 1}),
    ],
)
@pytest.mark.parametrize("header", ["x: y", "closed;", "closed: \\n"])
def test_no_request_reaches_memory_or_files(
    stack: Settings, path: str, body: dict[str, Any], header: str
) -> None:
    answer = to_triton(stack, path, body, header)
    assert answer.status == requests.codes.forbidden, answer.body


# Elasticsearch asks everybody for a password, also a page whose own name is this machine's by DNS rebinding.


@pytest.fixture
def index(stack: Settings) -> Iterator[str]:
    """Its URL; nothing may change its document, nor the settings."""
    kept = {"title": "kept"}
    with elastic_client(stack) as client:
        client.indices.create(index=INDEX)
        client.index(index=INDEX, id="1", document=kept, refresh=True)
        try:
            yield f"{stack.elasticsearch.url}/{INDEX}"
            assert client.get(index=INDEX, id="1")["_source"] == kept
            assert client.count(index=INDEX, q="title:*")["count"] == 1
            assert client.cluster.get_settings()["persistent"] == {}
        finally:
            client.options(ignore_status=404).indices.delete(index=INDEX)


@pytest.mark.parametrize("content_type", SIMPLE)
def test_a_page_changes_nothing(index: str, content_type: str | None) -> None:
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
        url = f"{index}/{path}"
        answer = sent(url, body, content_type)
        assert answer.status_code == requests.codes.unauthorized, (path, answer.text)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert as_its_own_name(url, body) == requests.codes.unauthorized


def test_a_foreign_origin_is_refused_with_the_password_too(
    stack: Settings, index: str
) -> None:
    headers, login = {"Origin": ORIGIN}, stack.elasticsearch.login
    answer = ask("GET", f"{index}/_doc/1", headers=headers, auth=login)
    assert answer.status_code == requests.codes.forbidden


@pytest.mark.parametrize(
    "login", [None, ("elastic", ""), ("elastic", "wrong"), ("other", "the password")]
)
@pytest.mark.parametrize(
    "call",
    [
        *("GET /", f"GET /{INDEX}/_doc/1", f"DELETE /{INDEX}"),
        *("PUT /_cluster/settings", "GET /%"),
    ],
)
@pytest.mark.usefixtures("index")
def test_nobody_is_answered_without_the_password(
    stack: Settings, call: str, login: tuple[str, str] | None
) -> None:
    if login and login[1] == "the password":
        login = login[0], str(stack.elasticsearch.secret)
    method, path = call.split()
    more = {"persistent": {"search.max_buckets": 10**6}}
    url = f"{stack.elasticsearch.url}{path}"
    answer = ask(method, url, json=more, auth=login)
    assert answer.status_code == requests.codes.unauthorized, answer.text


@pytest.mark.usefixtures("index")
def test_a_request_without_the_password_hides_none_behind_it(stack: Settings) -> None:
    place = stack.elasticsearch
    hidden = f"DELETE /{INDEX} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    head = f"POST /{INDEX}/_doc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n"
    with socket.create_connection((place.host, place.port), timeout=30) as connection:
        connection.sendall(f"{head}{hidden}{hidden}".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")


def test_it_listens_for_no_other_node(stack: Settings) -> None:
    """Nodes ask each other for no password."""
    assert listening(stack, "elasticsearch") == {stack.elasticsearch.port}


EVERY: Final = {"match_all": {}}
BUCKETS: Final = {"field": "n", "interval": 0.001, "min_doc_count": 0}
COSTLY: Final = {
    "regexp": {"query": {"regexp": {"title": ".*(a|b)*.*"}}},
    "wildcard": {"query": {"wildcard": {"title": "*a*"}}},
    "script_score": {"query": {"script_score": {"query": EVERY, "script": "1"}}},
    "script_fields": {"query": EVERY, "script_fields": {"x": {"script": "1"}}},
    "buckets": {"size": 0, "aggs": {"many": {"histogram": BUCKETS}}},
    "size": {"size": 10_001},
}


@pytest.mark.parametrize("search", COSTLY.values(), ids=COSTLY)
def test_a_search_that_would_cost_much_is_refused(
    stack: Settings, index: str, search: dict[str, Any]
) -> None:
    with elastic_client(stack) as client:
        for number in (0, 1_000_000):
            client.index(index=INDEX, document={"n": number}, refresh=True)
    login = stack.elasticsearch.login
    answer = ask("POST", f"{index}/_search", json=search, auth=login)
    assert answer.status_code == requests.codes.bad_request, answer.text


def test_a_page_is_not_allowed_to_ask_for_more(index: str) -> None:
    requested = {"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE"}
    answer = ask("OPTIONS", index, headers=requested)
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Access-Control-Allow-Methods" not in answer.headers


def test_files_of_services_are_their_owners_alone(stack: Settings) -> None:
    assert mode(stack.exchange_dir / "online") == 0o700
    for name in ("logs", "redis", "secrets", "supervisor"):
        for path in stack.service_dir(name).rglob("*"):
            assert not path.is_file() or mode(path) & 0o077 == 0, path


# Feast reads alone, and for its own names.


@pytest.mark.parametrize(
    "path",
    [
        *("push", "write-to-online-store", "chat"),
        *("materialize", "materialize-incremental"),
    ],
)
def test_nothing_writes_over_http(stack: Settings, path: str) -> None:
    answer = sent(f"{stack.feast.url}/{path}", {}, "application/json")
    unknown = (requests.codes.not_found, requests.codes.method_not_allowed)
    assert answer.status_code in unknown


@pytest.mark.parametrize("content_type", SIMPLE)
def test_a_page_is_answered_nothing(stack: Settings, content_type: str | None) -> None:
    question = {"feature_service": "ml_user", "entities": {"userid": [1]}}
    url = f"{stack.feast.url}/get-online-features"
    answer = sent(url, question, content_type)
    assert answer.status_code == requests.codes.unprocessable_entity
    assert as_its_own_name(url, question) == requests.codes.bad_request


@pytest.mark.parametrize("path", ["health", "openapi.json", "docs"])
def test_another_name_is_refused_for_whatever_it_asks(
    stack: Settings, path: str
) -> None:
    answer = ask("GET", f"{stack.feast.url}/{path}", headers={"Host": EVIL})
    assert answer.status_code == requests.codes.bad_request


# Redis asks for the password on its socket, too.


def test_programs_without_the_generated_password_are_refused(stack: Settings) -> None:
    unknown = redis.Redis(unix_socket_path=str(stack.redis.socket))
    with unknown, pytest.raises(redis.AuthenticationError):
        unknown.ping()
    path = stack.password_file("redis")
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_its_password_is_in_no_command_line_and_in_no_log(stack: Settings) -> None:
    password = stack.redis.secret
    assert password is not None
    for process in psutil.process_iter(["cmdline"]):
        assert password not in " ".join(process.info["cmdline"] or ())
    for log in stack.service_dir("logs").iterdir():
        assert password not in log.read_text(errors="replace"), log


@pytest.mark.parametrize(
    "start", ["POST / HTTP/1.1", "GET /x HTTP/1.1\r\nHost: 127.0.0.1"]
)
def test_commands_in_a_body_are_not_carried_out(stack: Settings, start: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(stack.redis.socket))
        request = f"{start}\r\nHost: {EVIL}\r\n\r\nSET probe 1\r\n"
        connection.sendall(request.encode())
        while connection.recv(4096):  # until it hangs up
            pass
    with redis_client(stack) as client:
        assert not client.exists("probe")


# Attacks of another account of this machine on the services.

SHARED_MEMORY: Final = Path("/dev/shm")
NOBODY: Final = 65534
MODEL: Final = "echo"
MODEL_CONFIG: Final = """\
platform: "onnxruntime_onnx"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
REQUEST: Final = (
    b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [7.5]}]}'
)


def write_model(settings: Settings) -> None:
    """Put a model that returns its input into Triton's repository."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1])
        for name in "xy"
    )
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], MODEL, [x], [y]
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    folder = settings.service_dir("triton") / MODEL
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(MODEL_CONFIG)
    onnx.save(model, folder / "1" / "model.onnx")


def open_what_appears(parent: Connection) -> None:
    """As another account, open each file of the shared memory as soon as it lets itself be opened; send the names."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    opened: set[str] = set()
    parent.send("ready")
    while not parent.poll(timeout=1e-3):
        for path in SHARED_MEMORY.iterdir():
            if path.name not in opened and os.access(path, os.R_OK):
                opened.add(path.name)
    parent.send(opened)


@contextmanager
def another_account() -> Iterator[Callable[[], set[str]]]:
    """What returns the names of the files that another account could open so far."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=open_what_appears, args=(there,))
    process.start()

    def opened() -> set[str]:
        here.send("stop")
        names: set[str] = here.recv()
        return names

    try:
        assert here.recv() == "ready"
        yield opened
    finally:
        process.terminate()
        process.join()


def shared_memory(settings: Settings) -> set[Path]:
    """Files of the shared memory that processes of this stack have mapped."""
    mapped = (
        Path(each.path)
        for process in members(settings)
        for each in process.memory_maps()
    )
    return {path for path in mapped if path.parent == SHARED_MEMORY}


@retry(
    stop=stop_after_delay(60),
    wait=wait_fixed(0.1),
    retry=retry_if_result(lambda body: body is None),
)
def answer(settings: Settings) -> bytes | None:
    with closing(Http(settings.triton.url, timeout_s=30)) as http:
        answered = http.post(f"/v2/models/{MODEL}/infer", REQUEST)
    return answered.body if answered.status == 200 else None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
def test_triton_s_shared_memory_is_closed_to_others(tmp_path: Path) -> None:
    """From its creation on: whoever has opened it once goes on reading."""
    settings = settings_on_free_ports(tmp_path)
    write_model(settings)
    with another_account() as opened, own_stack(settings, [TRITON]):
        assert b"7.5" in (answer(settings) or b"")
        made = shared_memory(settings)
        assert made
        assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
        assert not {path.name for path in made} & opened()


def test_who_listens_on_the_port_gets_no_password(tmp_path: Path) -> None:
    """While Redis is down another account may listen there; its owner's commands do not connect."""
    settings = settings_on_free_ports(tmp_path)
    REDIS.prepare(settings)
    assert settings.redis.secret
    with socket.create_server((LOOPBACK, settings.redis.port)) as listener:
        with pytest.raises(NotReadyError):
            REDIS.version(settings)  # what `make status` asks
        with closing(Recommender.from_settings(settings)) as server:
            found = list(doctor.services(server.clients))
        assert "down" in {each.state for each in found if each.what == "redis"}
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
