"""Jobs of two services that are traced; their spans are written to a file."""

import os
from functools import cache
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from heori import Mutex, Producer, Retry, current_job, on_worker_start, task


@on_worker_start
def trace_jobs() -> None:
    """Have spans written to the file, a line each; OTEL_SERVICE_NAME says whose they are."""
    provider = TracerProvider()
    file = Path(os.environ["SPANS"]).open("a", 1)  # noqa: SIM115 - for as long as it lives
    exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(None) + "\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


@cache
def producer() -> Producer:
    return Producer()


@task(queue="charges", retry=Retry(intervals=(0,)))
def charge(order: int) -> None:
    """Fails at first, then sends another job."""
    with Mutex("till"):
        if current_job().attempt == 1:
            raise ConnectionError("the bank does not answer")
    producer().submit(notify, order)


@task(queue="mails", locks=["mailbox"])
async def notify(order: int) -> None:
    """Does nothing."""


def serve_request() -> None:
    """What the service does that sends."""
    trace_jobs()
    with trace.get_tracer("shop").start_as_current_span("POST /orders"):
        producer().submit(charge, 17)
