from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from flask.testing import FlaskClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from data_exchange_center.settings import Settings
from extras.tracing import hook as tracing
from extras.tracing.hook import TracingSettings
from online.main.s1_server import JsonLines, create_app
from tests.http_server import serving
from tests.unit.extras.conftest import Fakes
from tests.unit.online.conftest import plain

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "processor", lambda _: SimpleSpanProcessor(exporter))
    return exporter


def traced(fakes: Fakes, **more: float) -> FlaskClient:
    endpoint = TracingSettings(endpoint="http://127.0.0.1:1/v1/traces", **more)
    app = create_app(fakes.recommender, plain(Settings()), fakes.stores)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TracingSettings, "load", lambda: endpoint)
        tracing.register(app, app.extensions["recsys"])
    return app.test_client()


def by_name(memory: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in memory.get_finished_spans()}


def test_a_request_has_a_span_with_one_per_service_call(
    fakes: Fakes, memory: InMemorySpanExporter
) -> None:
    traced(fakes).post("/ml/rec", json={"userid": 1}, headers={"X-Request-ID": "mine"})
    spans = by_name(memory)
    whole = spans.pop("POST /ml/rec")
    assert list(spans) == ["redis", "elasticsearch", "feast", "triton"]
    assert (
        whole.attributes["recsys.request_id"],
        whole.attributes["recsys.outcome"],
    ) == ("mine", "personal")
    for span in spans.values():
        assert span.parent.span_id == whole.context.span_id
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time
    assert spans["redis"].end_time <= spans["elasticsearch"].start_time


def test_a_callers_trace_is_kept(
    fakes: Fakes, memory: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "online.access"):
        traced(fakes).post(
            "/ml/rec", json={"userid": 1}, headers={"traceparent": PARENT}
        )
    _, trace, span, _ = PARENT.split("-")
    whole = by_name(memory)["POST /ml/rec"]
    assert f"{whole.context.trace_id:032x}" == trace
    assert f"{whole.parent.span_id:016x}" == span
    (line,) = [
        json.loads(JsonLines().format(r))
        for r in caplog.records
        if r.name == "online.access"
    ]
    assert line["trace"] == trace


LOW_ID = f"00-{1:032x}-b7ad6b7169203331-01"  # a ratio by the trace's id would always sample it


@pytest.mark.parametrize("parent", [None, PARENT, LOW_ID, PARENT[:-1] + "0"])
@pytest.mark.parametrize("share", [0.0, 1e-12, 1.0])
def test_a_callers_trace_does_not_override_sampling(
    fakes: Fakes, memory: InMemorySpanExporter, share: float, parent: str | None
) -> None:
    headers = {"traceparent": parent} if parent else {}
    traced(fakes, share=share).post("/ml/rec", json={"userid": 1}, headers=headers)
    assert len(memory.get_finished_spans()) == (5 if share == 1 else 0)


def test_without_the_setting_nothing_that_traces_is_imported() -> None:
    code = "import sys, online.main.s1_server; print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "online.web.guard" in done.stdout
    assert "opentelemetry.exporter" not in done.stdout
    assert "opentelemetry.sdk.trace" not in done.stdout


def test_without_the_package_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SystemExit, match="OpenTelemetry is not installed"):
        tracing.provider(TracingSettings(endpoint="http://127.0.0.1:1"))


def test_spans_reach_a_collector() -> None:
    arrived: list[tuple[str, bytes]] = []

    def collect(request: Any, body: bytes) -> tuple[int, bytes]:
        arrived.append((request.path, body))
        return 200, b""

    with serving(collect) as port:
        made = tracing.provider(
            TracingSettings(endpoint=f"http://127.0.0.1:{port}/v1/traces")
        )
        made.get_tracer("a").start_span("whatever").end()
        assert made.force_flush(10_000)
        made.shutdown()
    assert [path for path, _ in arrived] == ["/v1/traces"]
    assert b"whatever" in arrived[0][1] or arrived[0][1][:2] == b"\x1f\x8b"
