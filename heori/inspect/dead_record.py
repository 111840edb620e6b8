"""What is told of a dead letter, as JSON."""

from typing import Any

from heori.inspect.dead_letters import DeadLetters
from heori_common.printable import LINES, printable
from heori_common.protocol.dead_letter import CALL_FIELDS, EVIDENCE_FIELDS, DeadLetter
from heori_common.protocol.meta import shown_meta
from heori_common.protocol.payload import BadPayload

# What `summary` reads, besides when it failed.
SUMMARY_FIELDS = (
    *CALL_FIELDS,
    *EVIDENCE_FIELDS,
    *("description", "meta", "status", "heori_deliveries", "heori_earlier", "heori_restarts"),
)
SHOWN_FIELDS = (
    "description",
    "status",
    "timeout",
    "created_at",
    "enqueued_at",
    "started_at",
    "ended_at",
    "worker_name",
)


def summary(letter: DeadLetter, letters: DeadLetters) -> dict[str, Any]:
    """A letter as a list shows it."""
    task, problem = None, None
    try:
        task = letters.call(letter).function
    except BadPayload as error:
        problem = str(error)
    failed = letter.failed_at
    return {
        "id": letter.id,
        "queue": letter.queue,
        "task": task,
        "problem": problem,
        "ending": letter.ending,
        "failed_at": failed.isoformat() if failed else None,
        "deliveries": letter.deliveries,
        "restarts": letter.integer("heori_restarts") or 0,
        "reason": letter.reason,
        "meta": shown_meta(letter.meta),
    }


def details(letter: DeadLetter, letters: DeadLetters) -> dict[str, Any]:
    """Everything that is known of a letter."""
    shown = summary(letter, letters)
    del shown["reason"]
    try:
        call = letters.call(letter)
        shown |= {"args": list(call.args), "kwargs": dict(call.kwargs)}
    except BadPayload:
        pass
    shown |= {field: letter.text(field) or None for field in SHOWN_FIELDS}
    shown["expires_at"] = letter.expires_at.isoformat() if letter.expires_at else None
    shown["evidence"] = letter.evidence
    shown["traceback"] = letter.traceback or letter.reason
    return shown


def plain(value: Any) -> Any:
    """A value of JSON without what is no text, and what a terminal would obey."""
    if isinstance(value, str):
        return printable(value, kept=LINES)
    if isinstance(value, dict):
        return {plain(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
