"""A consumer that all kinds of input go through, and what it makes of them."""

import contextlib
import itertools
import json
import os
import pickle
import threading
import urllib.error
import urllib.request
import zlib
from base64 import b64decode
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

from heori_common.protocol.payload import decode_failure
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until

ADD = "tests.tasks.sample_tasks.add"
HOSTILE = "tests.tasks.hostile_tasks."


class Siege:
    """One consumer and its queue, which all rows of one model go through."""

    def __init__(self, redis: Any, queue: str, consumer: Consumer) -> None:
        self.redis = redis
        self.queue = queue
        self.consumer = consumer
        self._numbers = itertools.count()
        first = self.new_id()
        self.baseline = self.value(self.add(redis, first, HOSTILE + "surroundings"))
        self.name: str = self.redis.hget(f"rq:job:{first}", "worker_name").decode()
        assert self.ask("surroundings_later") == self.baseline

    def new_id(self) -> str:
        return f"{self.queue}-{next(self._numbers)}"

    def add(
        self, pipe: Any, job_id: str | bytes, function: str, *args: Any, **fields: Any
    ) -> bytes:
        """Write a job as rq does, with some fields changed, or left out if None."""
        wire = job_id if isinstance(job_id, bytes) else job_id.encode("utf-8", "surrogateescape")
        record = {
            "data": zlib.compress(json.dumps([function, None, args, {}]).encode()),
            "status": "queued",
            "origin": self.queue,
            "created_at": "2026-01-02T03:04:05.000000Z",
            "enqueued_at": "2026-01-02T03:04:05.000000Z",
            "description": f"{function}{args}"[:100],
            "timeout": "60",
            **fields,
        }
        kept = {name: value for name, value in record.items() if value is not None}
        pipe.hset(b"rq:job:" + wire, mapping=kept)
        pipe.rpush(f"rq:queue:{self.queue}", wire)
        return wire

    def result(self, job_id: bytes) -> dict[bytes, bytes]:
        """Wait for a job's end; there must be just one."""
        key = b"rq:results:" + job_id
        answer = self.redis.xread({key: "0"}, block=15_000)
        assert answer, f"{job_id!r} did not end: {self.redis.hgetall(b'rq:job:' + job_id)}"
        [(_, fields)] = self.redis.xrange(key)
        return dict(fields)

    def value(self, job_id: bytes) -> Any:
        """Wait for the result of a job that is to succeed."""
        fields = self.result(job_id)
        assert fields[b"type"] == b"1", decode_failure(fields.get(b"exc_string", b""))
        raw = b64decode(fields.get(b"return_value", b"bnVsbA=="))  # RQ does not store None
        return pickle.loads(raw) if raw[:1] == b"\x80" else json.loads(raw)

    def ask(self, function: str) -> Any:
        return self.value(self.add(self.redis, self.new_id(), HOSTILE + function))

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(self.consumer.url + "/readyz", timeout=60) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False

    def count(self, registry: str, job_id: bytes) -> int:
        return int(self.redis.zscore(f"rq:{registry}:{self.queue}", job_id) is not None)


MODELS = {
    "threads": ["--model", "threads", "--slots", "1"],
    "processes": ["--model", "processes", "--processes", "1"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "1"],
    "pickle": ["--model", "threads", "--slots", "1"],
    "keys": ["--model", "threads", "--slots", "1"],
}


MODULES = {
    "leads": "import os\nfrom os import getpid\nclass Class: ...\nvalue = 5\n"
    "class _Odd:\n    def __call__(self): ...\n    def __getattr__(self, name): raise SystemExit\n"
    "odd = _Odd()\n",
    "raises": "raise RuntimeError('no licence')",
    "exits": "raise SystemExit('not here')",
    "interrupts": "raise KeyboardInterrupt",
    "leaves": "import os\nos._exit(3)",
    "wrong": "def :",
}


@contextlib.contextmanager
def consuming(model: str, url: str, modules: str) -> Iterator[Consumer]:
    consumer = Consumer(
        ["--queue", model, *MODELS[model]],
        {
            "HEORI_REDIS_URL": url,
            "HEORI_TASKS": "tests.tasks.sample_tasks,tests.tasks.hostile_tasks",
            "HEORI_ALLOW": "besieged",
            "HEORI_UNKNOWN_WAIT": "0",  # what leads nowhere fails at once
            "HEORI_ACCEPT": "json,pickle" if model == "pickle" else "json",
            "HEORI_PICKLE": "unrestricted",  # tests/common/test_pickles.py has the other
            "HEORI_MAX_DELIVERIES": "2",
            "HEORI_MAX_PAYLOAD": str(MAX_PAYLOAD),
            "PYTHONPATH": os.pathsep.join([modules, os.environ.get("PYTHONPATH", "")]),
            "LC_ALL": "C.UTF-8",
        },
    )
    assert consumer.process.stdout is not None
    read = partial(os.read, consumer.process.stdout.fileno(), 1 << 20)
    drop = threading.Thread(target=lambda: deque(iter(read, b""), 0), daemon=True)
    drop.start()
    try:
        yield consumer.ready()
    finally:
        if consumer.process.poll() is None:
            consumer.process.kill()
        drop.join(5)
        consumer.join()
        until(consumer.nothing_left)


MAX_PAYLOAD = 1_000_000
