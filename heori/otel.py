"""Traces of jobs by OpenTelemetry, across all programs that they come through.

``HEORI_MIDDLEWARE=heori.otel.Tracing`` turns it on, where jobs are sent and where they run. Spans
go to whatever tracer provider the program has set. Their names and attributes are those of the
semantic conventions for messaging; what is Heori's own begins with ``heori.``.
"""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from heori_common.current_job import CurrentJob
from heori_common.locks.statistics import when_acquired
from heori_common.middleware import Middleware, OutgoingJob
from heori_common.protocol.job import MalformedJob
from heori_common.public import public

try:
    from opentelemetry import context, propagate, trace
    from opentelemetry.trace import Span, SpanKind, StatusCode
except ImportError as error:
    raise ImportError("heori.otel needs OpenTelemetry: pip install 'heori[otel]'") from error

NS = 1_000_000_000  # nanoseconds per second


@public
class Tracing(Middleware):
    """Spans for each job: sent, waiting, and each run of it, all in the trace of its sender.

    The W3C context travels in the job's `meta`, as traceparent. What a job sends, and what it
    traces itself, is below the span of its run.
    """

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("heori")
        self._sends: dict[str, Span] = {}  # by the job's id
        self._runs: dict[CurrentJob, Span] = {}
        when_acquired(self._lock_acquired)

    def sending(self, job: OutgoingJob) -> None:
        """Begin the span of its being sent, and have the job carry it."""
        span = self._tracer.start_span(
            f"send {job.queue}",
            kind=SpanKind.PRODUCER,
            attributes=_attributes("send", job.queue, job.id, job.task),
        )
        propagate.inject(job.meta, trace.set_span_in_context(span))
        self._sends[job.id] = span

    def sent(self, job: OutgoingJob, error: BaseException | None) -> None:
        """End it."""
        if span := self._sends.pop(job.id, None):
            _end(span, error)

    def before(self, job: CurrentJob) -> None:
        """Tell how long it has waited, and begin the span of its run."""
        parent = _sender_of(job)
        now = time.time_ns()
        waiting = self._tracer.start_span(
            f"wait {job.queue}", parent, start_time=now - int(job.queue_time * NS)
        )
        if job.lock_time:
            self._tracer.start_span(
                "wait for the locks of a task",
                trace.set_span_in_context(waiting),
                start_time=now - int(job.lock_time * NS),
            ).end(now)
        waiting.end(now)
        span = self._start_run(job, parent)
        # Not detached: it is a copy of the context, or each job of it puts its own there.
        context.attach(trace.set_span_in_context(span, parent))
        self._runs[job] = span

    def after(self, job: CurrentJob, result: object) -> None:  # noqa: ARG002
        """End it."""
        _end(self._runs.pop(job), None)

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:
        """End it with the error; of a job that could not even begin, it is there all the same."""
        span = self._runs.pop(job) if job in self._runs else self._start_run(job, _sender_of(job))
        _end(span, error)

    def _start_run(self, job: CurrentJob, parent: context.Context) -> Span:
        of_run = {"heori.attempt": job.attempt, "heori.delivery": job.delivery}
        return self._tracer.start_span(
            f"process {job.queue}",
            parent,
            SpanKind.CONSUMER,
            _attributes("process", job.queue, job.id, job.task) | of_run,
        )

    def _lock_acquired(self, kind: str, name: str, waited: float) -> None:
        if trace.get_current_span().is_recording():
            now = time.time_ns()
            attributes = {"heori.lock.kind": kind, "heori.lock.name": name}
            self._tracer.start_span(
                f"wait for {kind}", attributes=attributes, start_time=now - int(waited * NS)
            ).end(now)


def _attributes(operation: str, queue: str, job_id: str, task: str) -> dict[str, Any]:
    """Names as in the conventions 1.38, of which messaging is no stable part."""
    return {
        "messaging.system": "heori",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": job_id,
        "heori.task": task,
    }


def _sender_of(job: CurrentJob) -> context.Context:
    carrier: Mapping[str, Any] = {}
    with contextlib.suppress(MalformedJob):  # a job without a trace runs as well
        carrier = {name: value for name, value in job.meta.items() if isinstance(value, str)}
    return propagate.extract(carrier, context.Context())


def _end(span: Span, error: BaseException | None) -> None:
    if error is not None and span.is_recording():
        span.record_exception(error)
        span.set_attribute("error.type", f"{type(error).__module__}.{type(error).__qualname__}")
        span.set_status(StatusCode.ERROR, type(error).__name__)
    span.end()
