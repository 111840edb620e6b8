"""Traces of jobs, by OpenTelemetry, through real processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.rigs.consumers import MODELS, Consumer
from tests.rigs.spans import Spans
from tests.rigs.waiting import until

TRACING = {"HEORI_MIDDLEWARE": "heori.otel.Tracing", "HEORI_TASKS": "tests.tasks.traced_tasks"}
PAGE = Path("docs/tracing.md")


def test_a_request_through_three_services_is_one_trace_as_the_page_draws_it(
    consume: Callable[..., Consumer], redis_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "spans"
    traced = {**TRACING, "SPANS": str(file), "HEORI_REDIS_URL": redis_url}
    payments = consume("-q", "charges", **traced, OTEL_SERVICE_NAME="payments")
    mail = consume("-q", "mails", *MODELS["asyncio"], **traced, OTEL_SERVICE_NAME="mail")
    serve = "from tests.tasks.traced_tasks import serve_request; serve_request()"
    shop = {**os.environ, **traced, "OTEL_SERVICE_NAME": "shop"}
    subprocess.run([sys.executable, "-c", serve], env=shop, check=True)
    until(lambda: Spans.read(file).named("process mails"))
    for each in (payments, mail):
        assert each.stop() == 0
    spans = Spans.read(file)
    assert len(spans.traces) == 1
    assert spans.tree() in PAGE.read_text()
    [failed, done] = spans.named("process charges")
    assert failed["status"]["status_code"] == "ERROR"
    [raised] = failed["events"]
    assert raised["attributes"]["exception.message"] == "the bank does not answer"
    job = spans.named("send charges")[0]["attributes"]["messaging.message.id"]
    assert done["attributes"] == {
        "messaging.system": "heori",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "charges",
        "messaging.message.id": job,
        "heori.task": "tests.tasks.traced_tasks.charge",
        "heori.attempt": 2,
        "heori.delivery": done["attributes"]["heori.delivery"],
    }
    for waited, ran in zip(spans.named("wait charges"), (failed, done), strict=True):
        assert waited["start_time"] <= waited["end_time"] <= ran["start_time"]


def test_all_else_works_without_the_extra_and_who_names_it_is_told_what_is_missing() -> None:
    # redis-py imports it by itself where it is installed; this is as if it were not.
    program = """
import sys
sys.modules["opentelemetry"] = None
import heori, heori_consumer.worker.process, heori_consumer.supervisor.supervisor
heori.Producer, heori.Mutex, heori.task, heori.Middleware
assert "heori.otel" not in sys.modules
try:
    import heori.otel
except ImportError as error:
    assert "pip install 'heori[otel]'" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True)
