"""How a job has ended, each time that it did."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from heori.inspect.reader import NONSENSE, RedisReader
from heori_common.protocol.payload import decode_failure

MOST_OF_TRY = 20_000  # bytes of the failure of a try before the last
_OUTCOMES = {1: "finished", 2: "failed", 3: "retried"}  # of rq's Result.Type


@dataclass(frozen=True, slots=True)
class Try:
    """How a job has ended once: also before it was replayed, or repeated.

    Attributes:
        outcome: finished, failed or retried.
        ran: seconds; None where nothing tells.
        cpu: seconds of CPU time, if it ran for long enough for that to be kept.
        gil: seconds for which it was seen to wait for the GIL.
        error: its traceback.
    """

    outcome: str
    ended_at: str
    ran: float | None
    cpu: float | None
    gil: float | None
    consumer: str
    error: str


def read_tries(reader: RedisReader, job_id: str) -> tuple[Try, ...]:
    """How it has ended each time, the latest first, as far as that is kept.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    results = reader.read(reader.commands.results(job_id, MOST_OF_TRY)) or []
    return tuple(_try(result) for result in results)


def _try(result: Mapping[str, bytes | int]) -> Try:
    def text(name: str) -> str:
        value = result.get(name, b"")
        return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else ""

    ended = ""
    ran_s = None
    with suppress(*NONSENSE, OSError):
        ended = datetime.fromtimestamp(int(text("id").partition("-")[0]) / 1000, UTC).isoformat()
    with suppress(ValueError):
        length = float(text("execution_ended_at")) - float(text("execution_started_at"))
        ran_s = round(length, 6) if math.isfinite(length) else None

    def seconds(name: str) -> float | None:
        with suppress(ValueError):
            number = float(text(name))
            return number if 0 <= number < math.inf else None
        return None

    failure = result.get("exc_string")
    error = (
        f"(a traceback of {failure:,} bytes)"
        if isinstance(failure, int)
        else decode_failure(failure)
        if failure
        else ""
    )
    kind = text("type")
    outcome = _OUTCOMES.get(int(kind), "?") if kind.isdecimal() and len(kind) < 4 else "?"
    cpu, gil = seconds("heori_cpu"), seconds("heori_gil")
    return Try(outcome, ended, ran_s, cpu, gil, text("worker_name"), error)
