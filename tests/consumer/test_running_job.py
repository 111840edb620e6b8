"""What a worker reads out of a claim before it runs the job."""

from datetime import UTC, datetime

import msgpack
import pytest

from heori_common.current_job import CurrentJob
from heori_common.platform import shared_memory
from heori_common.protocol.job import Claim, MalformedJob
from heori_common.protocol.payload import Call, encode_call
from heori_common.protocol.records import JobFields
from heori_consumer.between.options import Policy
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.worker.lending import Lending
from heori_consumer.worker.running_job import RunningJob

NOON = datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC).timestamp()
POLICY = Policy(("tests.tasks.sample_tasks",), (), ("json",), 1000, 0.0)
DATA = encode_call(Call("tests.tasks.sample_tasks.add", (1,), {}))
FIELDS = JobFields(*[None] * len(JobFields._fields))._replace(
    data=DATA, enqueued_at=b"2026-01-02T03:04:05.500000Z"
)


def prepare(fields: JobFields, claimed_at: float = NOON, problem: str | None = None) -> RunningJob:
    packed = msgpack.packb(fields)
    claim = Claim("id", "default", "e", 1, claimed_at, problem, 33, None, None, packed)
    table = SlotTable(shared_memory(SlotTable.bytes_of(1, 0)), 1, 0)
    lending = Lending({}, 0, table, lambda: None)
    job = RunningJob(0, 1, claim, lambda *_: None, lambda *_: None, "", lending)
    job.prepare(claim, POLICY)
    return job


def test_a_job_knows_how_long_it_has_waited() -> None:
    job = prepare(FIELDS)
    assert (job.queue_time, job.timeout, job.retries) == (1.5, 33, None)
    assert job.task == "tests.tasks.sample_tasks.add"
    assert job.function() == 3
    assert prepare(FIELDS, NOON - 3600).queue_time == 0.0
    assert prepare(FIELDS._replace(enqueued_at=b"")).queue_time == 0.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x" * 1000, "x" * 1000),
        ("x" * 1001, "x" * 1000 + "… (1001 characters)"),
        ("x" * 20_000_000, "x" * 1000 + "… (20000000 characters)"),
    ],
)
def test_of_a_long_text_a_job_tells_the_beginning_and_the_length(text: str, told: str) -> None:
    reports: list[tuple[float, str]] = []
    job = CurrentJob("id", "task", "default", 1, 10, lambda *report: reports.append(report))
    job.progress(0.5, text)
    assert reports == [(0.5, told)]


def test_what_is_wrong_with_a_claim_is_said_before_anything_is_read() -> None:
    with pytest.raises(MalformedJob, match="its hash has no data field"):
        prepare(FIELDS._replace(data=b"garbage"), problem="its hash has no data field")
