"""`--serializer` with the name of an own one: it reads and writes all that rq has it do."""

from typing import Any

import pytest
from rq import Callback, Queue
from rq.job import Job

from heori_common.rq.named import NotThere, named_serializer
from tests.rigs.bursts import work
from tests.tasks import callback_tasks as does
from tests.tasks import sample_tasks
from tests.tasks.own_classes import Reversed

NAME = "tests.tasks.own_classes.Reversed"


def result_of(job: Job) -> Any:
    result = job.latest_result()
    assert result is not None
    assert result.exc_string is None, result.exc_string
    return result.return_value


def test_all_is_read_and_written_with_it(redis: Any, redis_url: str) -> None:
    queue = Queue("default", connection=redis, serializer=Reversed)
    noted = queue.enqueue(does.add, 1, 2, meta={"own": 1}, on_success=Callback(does.note))
    unserialisable = queue.enqueue(does.lose_itself)
    of_task = queue.enqueue(sample_tasks.add, 1, b=4)
    damaged = queue.enqueue(does.add, 1)
    redis.hset(damaged.key, "data", b"none of it")
    assert work(redis_url, "--serializer", NAME)[0] == 0
    assert result_of(noted) == 3
    assert noted.get_meta() == {"own": 1, "result": 3}
    assert result_of(unserialisable) == "Unserializable return value"
    assert result_of(of_task) == 5
    failure = damaged.latest_result()
    assert failure is not None
    assert "its payload is no payload of --serializer" in str(failure.exc_string)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tests.tasks.own_classes.Gone", "Gone"),
        ("tests.tasks.sample_tasks.add", "no functions dumps and loads"),
    ],
)
def test_a_name_that_leads_to_none_is_refused(name: str, says: str) -> None:
    with pytest.raises(NotThere, match=f"--serializer '{name}'.*{says}"):
        named_serializer(name)
