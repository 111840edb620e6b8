"""What commands tell of jobs that RQ has pickled, with no setting that says anything of pickles."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

from rq import Queue, SimpleWorker

from tests.rigs.commands import Heori
from tests.tasks import strangers


def test_results_and_dead_letters_of_pickled_jobs_are_told(heori: Heori, redis: Any) -> None:
    queue = Queue(connection=redis)
    known = [queue.enqueue(strangers.same, value) for value in (7, "text", [1, {"a": None}], 0.5)]
    others = {date(2026, 1, 2): "2026", Decimal("1.5"): "1.5", (1, 2): "(1, 2)"}
    strange = {queue.enqueue(strangers.same, value): told for value, told in others.items()}
    own = queue.enqueue(strangers.same, strangers.Basket([3]))
    failed = queue.enqueue(strangers.fail, Decimal("2.5"))
    SimpleWorker([queue], connection=redis).work(burst=True)

    def status(job: Any) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(heori("job", job.id, "--json").stdout)
        return told

    assert [status(job)["result"] for job in known] == [7, "text", [1, {"a": None}], 0.5]
    for job, text in strange.items():
        assert text in status(job)["error"]
        assert "read it with rq" in status(job)["error"]
    assert "read it with rq" in status(own)["error"]
    listed = json.loads(heori("dead", "list", "--json").stdout)
    assert (listed["id"], listed["task"]) == (failed.id, "tests.tasks.strangers.fail")
    assert json.loads(heori("dead", "show", failed.id, "--json").stdout)["args"] == [
        "Decimal('2.5')"
    ]
