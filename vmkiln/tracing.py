"""Sends the traces of runs to an OpenTelemetry collector, when one is named and the optional libraries are there.

Source: OpenTelemetry, "Environment Variable Specification" (OTEL_EXPORTER_OTLP_ENDPOINT and what else the SDK reads).
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from vmkiln import __version__
from vmkiln.errors import InputError
from vmkiln.fleet.run_trace import Span

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

Export = Callable[[Span], None]
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@contextlib.contextmanager
def exported(environment: Mapping[str, str]) -> Iterator[Export | None]:
    """What sends a trace, while the block lasts; none where nobody asked for traces.

    Raises: `InputError` when the libraries for it are missing.
    """
    if not any(environment.get(name) for name in ENDPOINTS):
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise InputError(
            f"{ENDPOINTS[0]} is set, but the libraries that send traces are not installed",
            hint="install vmkiln with its extra: pip install 'vmkiln[traces]'",
        ) from error
    with exporting_to(OTLPSpanExporter()) as export:
        yield export


@contextlib.contextmanager
def exporting_to(exporter: "SpanExporter") -> Iterator[Export]:
    """What sends a trace to this exporter, in the background; what has not been sent yet is sent at the block's end."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 (optional)
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(
        resource=Resource.create({"service.name": "vmkiln", "service.version": __version__}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("vmkiln")
    try:
        yield lambda span: _send(tracer, span, None)
    finally:
        provider.shutdown()


def _send(tracer: "Tracer", span: Span, parent: "Context | None") -> None:
    from opentelemetry.trace import Status, StatusCode, set_span_in_context  # noqa: PLC0415 (optional)

    sent = tracer.start_span(span.name, parent, attributes=dict(span.attributes), start_time=_nanoseconds(span.start))
    for child in span.children:
        _send(tracer, child, set_span_in_context(sent))
    sent.set_status(Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.OK))
    sent.end(_nanoseconds(span.end))


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
