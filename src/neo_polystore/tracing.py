"""Spans of OpenTelemetry, where it is asked for (NEO_TRACE_SAMPLE, extra `otel`); else nothing.

One tracer per process. A span names code: a route, a job, a store's operation. Keys, paths, texts
of errors and whatever else is data stay out of it. OpenTelemetry's own variables (OTEL_EXPORTER_…,
OTEL_SERVICE_NAME) say where spans go.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neo_polystore import __version__, activity
from neo_polystore.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

_tracer: Tracer | None = None


def start(sample: float, *, exporter: SpanExporter | None = None) -> Callable[[], None]:
    """Trace this share of what begins here, and what a caller's own trace has sampled.

    What is returned sends what is left and ends it. Spans go to `exporter` at once where one is
    given, in batches over OTLP/HTTP else. Where it runs already nothing changes. ConfigError
    without the extra.
    """
    global _tracer
    if not sample or _tracer is not None:
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError:
        raise ConfigError(
            "NEO_TRACE_SAMPLE: tracing takes the extra `otel`: pip install 'neo-polystore[otel]'"
        ) from None
    described = {"service.version": __version__}
    if "OTEL_SERVICE_NAME" not in os.environ:
        described["service.name"] = "neo-polystore"
    provider = TracerProvider(
        resource=Resource.create(described), sampler=ParentBased(TraceIdRatioBased(sample))
    )
    provider.add_span_processor(
        SimpleSpanProcessor(exporter) if exporter else BatchSpanProcessor(OTLPSpanExporter())
    )
    _tracer = provider.get_tracer("neo_polystore", __version__)
    deaf = activity.listen(_called)

    def stop() -> None:
        global _tracer
        deaf()
        _tracer = None
        provider.shutdown()

    return stop


@contextmanager
def span(name: str, **attributes: str | int | bool) -> Iterator[None]:
    """A span around the block, within the one that is open; nothing where nothing is traced."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield
        except BaseException as error:
            failed(opened, type(error).__name__)
            raise


@contextmanager
def request_span(method: str, headers: Mapping[str, str]) -> Iterator[Span | None]:
    """The span of a request, in its caller's trace where `traceparent` names one (W3C)."""
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    with _tracer.start_as_current_span(
        method,
        context=TraceContextTextMapPropagator().extract(headers),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method},
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        yield opened


def trace_id(opened: Span) -> str:
    """The id of a span's trace, as it stands in logs."""
    return format(opened.get_span_context().trace_id, "032x")


def failed(opened: Span, kind: str) -> None:
    """Mark a span as failed, by the class of the error."""
    from opentelemetry.trace import StatusCode

    opened.set_status(StatusCode.ERROR)
    opened.set_attribute("error.type", kind)


def _called(store: str, operation: str, seconds: float) -> None:
    """A call of a store that has just ended: a span within the open one, if that is recorded."""
    if _tracer is None:
        return
    from opentelemetry.trace import SpanKind, get_current_span

    if not get_current_span().is_recording():
        return
    now = time.time_ns()
    attributes: dict[str, Any] = {"db.system.name": store, "db.operation.name": operation}
    _tracer.start_span(
        f"{store} {operation}",
        kind=SpanKind.CLIENT,
        attributes=attributes,
        start_time=now - int(seconds * 1e9),
    ).end(now)
