"""What a person has done to one job: each is one step on the server.

The reply is ``done``, or a word that says why not: a status, or one of each script's own.
"""

import json
from collections.abc import Sequence

from heori_common.protocol.commands.builder import (
    HANDOVER_LEASE_US,
    RESULT_TTL_S,
    Builders,
    Command,
    text,
)
from heori_common.protocol.keys import whole_queue


class ActingCommands(Builders):
    """Stop, run, retry and delete one job; `cancel` stands with what producers send."""

    def origin(self, job_id: str) -> Command[str | None]:
        """The queue of a job; None when there is no such job."""

        def parse(reply: Sequence[bytes | None]) -> str | None:
            status, origin = reply
            return None if status is None and origin is None else text(origin or b"")

        return Command(("HMGET", self.keys.job(job_id), "status", "origin"), parse)

    def stop_job(self, job_id: str) -> Command[str]:
        """Ask the consumer, or stock worker, that runs a job to stop it."""
        told = json.dumps({"command": "stop-job", "job_id": job_id})
        return self._call("stop_job", [], _word, id=job_id, command=told)

    def run_now(self, queue: str, job_id: str) -> Command[str]:
        """Put a scheduled job on its queue."""
        keys = self.keys
        places = [keys.queues(), keys.queue(queue), keys.scheduled(whole_queue(queue))]
        return self._call("run_now", places, _word, id=job_id)

    def retry_canceled(self, queue: str, job_id: str, forget: Sequence[str]) -> Command[str]:
        """Let a cancelled job run after all.

        Args:
            forget: the fields that tell of former deliveries.
        """
        keys = self.keys
        places = [keys.queues(), keys.queue(queue), keys.deferred(queue), keys.canceled(queue)]
        return self._call("retry_canceled", places, _word, id=job_id, queue=queue, forget=forget)

    def delete_job(self, job_id: str) -> Command[str]:
        """Delete a job that does not run, and all that is kept about it."""
        return self._call(
            "delete_job",
            [],
            _word,
            id=job_id,
            kept_s=RESULT_TTL_S,
            handover_lease_us=HANDOVER_LEASE_US,
        )


def _word(reply: bytes) -> str:
    return reply.decode("utf-8", "backslashreplace")
