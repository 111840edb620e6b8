"""One job in a slot of this very thread, without a consumer around it."""

import time
from typing import Any

import msgpack

from heori_common.platform import shared_memory
from heori_common.protocol.job import Claim, Outcome
from heori_common.protocol.payload import Call, encode_call
from heori_common.protocol.records import JobFields
from heori_consumer.between.options import Policy
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.worker.execution import Runner

NOBODY = Policy((), (), ("json",), 1_000_000, 0.0)


def run(policy: Policy, function: str, *args: Any, **fields: bytes) -> Outcome:
    """Run a job that rq has sent.

    Args:
        fields: of its hash.
    """
    table = SlotTable(shared_memory(SlotTable.bytes_of(1, 0)), 1, 0)
    runner = Runner(policy, table, _ignore, _ignore, _ignore, _ignore, _ignore)
    record = JobFields(*[None] * len(JobFields._fields))._replace(
        data=encode_call(Call(function, args, {})), **fields
    )
    packed = msgpack.packb(record)
    claim = Claim("id", "default", "e", 1, time.time(), None, 60, None, None, packed)
    table.take(0, 1, time.monotonic())
    return runner.run(0, 1, claim)


def _ignore(*_: object) -> None:
    pass
