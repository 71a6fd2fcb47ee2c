"""OpenTelemetry tracing, if the settings name a collector: a span for the request, and one for each call to a service.

Spans are made from the request's record once it is answered, so a request that is not traced costs nothing, and calls
in other threads are included. A caller's `traceparent` is continued, but neither its flag nor its trace id decides
whether a request is sampled: anybody can send one.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from flask import Flask, request
from pydantic import Field

from data_exchange_center.settings import ExtensionSettings, Seconds
from online.recommend.types import STAGES
from online.web.guard import Record
from online.web.parts import Parts

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

SERVICE: Final = "recsys-server"
_FAULT: Final = 500


class TracingSettings(ExtensionSettings, env_prefix="RECSYS_TRACING__"):
    """OpenTelemetry: where the server sends traces, if anywhere."""

    # http://127.0.0.1:4318/v1/traces; empty: none
    endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    # of the requests; a caller's traceparent does not change it
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    timeout_s: Seconds = 5.0  # in the background, no request waits for it


def register(app: Flask, parts: Parts) -> None:
    """Trace requests, where the settings name a collector."""
    settings = TracingSettings.load()
    if settings.endpoint:
        traces = Traces(provider(settings))
        # before the log, whose line has the trace's id
        parts.observers.insert(0, traces.trace)


def processor(settings: TracingSettings) -> SpanProcessor:
    """Send spans to the collector in the background; drop them when it does not take them."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(
        OTLPSpanExporter(endpoint=settings.endpoint, timeout=settings.timeout_s)
    )


def provider(settings: TracingSettings) -> TracerProvider:
    """Build the tracer provider. Exits with one sentence if OpenTelemetry is not installed."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.sdk.trace.sampling import (
            ParentBased,
            SamplingResult,
            TraceIdRatioBased,
        )

        class Share(TraceIdRatioBased):
            """Samples by an id of its own, not by the caller's."""

            def should_sample(
                self, parent_context: Any, trace_id: int, *named: Any, **more: Any
            ) -> SamplingResult:
                return super().should_sample(
                    parent_context,
                    RandomIdGenerator().generate_trace_id(),
                    *named,
                    **more,
                )

        share = Share(settings.share)
        made = TracerProvider(
            resource=Resource.create({"service.name": SERVICE}),
            sampler=ParentBased(
                share, remote_parent_sampled=share, remote_parent_not_sampled=share
            ),
        )
        made.add_span_processor(processor(settings))
    except ImportError as error:
        sys.exit(
            f"RECSYS_TRACING__ENDPOINT is set, and OpenTelemetry is not installed ({error.name}): "
            "run make setup, or unset it."
        )
    return made


class Traces:
    """An observer of requests that makes spans of them."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import (
            TraceContextTextMapPropagator,
        )

        self._tracer = provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    def trace(self, record: Record) -> None:
        """Make a span of a request and of each of its stages."""
        from opentelemetry.trace import (
            SpanKind,
            StatusCode,
            format_trace_id,
            set_span_in_context,
        )

        now_ns = time.time_ns() - int(time.perf_counter() * 1e9)

        def at(seconds: float) -> int:
            return now_ns + int(seconds * 1e9)

        attributes: dict[str, Any] = {
            "http.request.method": request.method,
            "http.route": record.endpoint,
            "http.response.status_code": record.status,
            "recsys.request_id": record.id,
            "recsys.outcome": record.outcome,
        }
        began = record.watch.began
        span = self._tracer.start_span(
            f"{request.method} {record.endpoint}",
            self._propagator.extract(dict(request.headers.items(lower=True))),
            SpanKind.SERVER,
            attributes,
            start_time=at(began),
        )
        record.facts["trace"] = format_trace_id(span.get_span_context().trace_id)
        if span.is_recording():
            for name, stage in record.watch.stages.items():
                kind = SpanKind.CLIENT if name in STAGES else SpanKind.INTERNAL
                call = self._tracer.start_span(
                    name, set_span_in_context(span), kind, start_time=at(stage.began)
                )
                if stage.failed:
                    call.set_status(StatusCode.ERROR)
                call.end(at(stage.began + stage.seconds))
            if record.status >= _FAULT:
                span.set_status(StatusCode.ERROR, record.outcome)
        span.end(at(began + record.seconds))
