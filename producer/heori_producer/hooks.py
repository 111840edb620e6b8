"""The producer's side of middleware: it adds to jobs that are sent, and hears what came of it."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from heori_common.middleware import Middleware, OutgoingJob, make
from heori_common.protocol.job import NewJob
from heori_common.protocol.meta import encode_meta
from heori_producer.backpressure import QueueFull

log = logging.getLogger(__name__)


class SendingHooks:
    """The middleware of one producer that has to do with sending.

    Args:
        names: of the classes that the settings name. They are looked for when the first job is
            sent: their module may be the one that makes the producer.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._made: list[Middleware] | None = None if names else []

    @property
    def are_none(self) -> bool:
        """Whether nobody hears of jobs."""
        return self._made == []

    def around(
        self, task: str, queue: str, jobs: list[NewJob], meta: Mapping[str, Any] | None
    ) -> AbstractContextManager[list[NewJob]]:
        """What calls it around the sending of some jobs; within it, these with what it has added.

        Raises:
            InvalidSetting: a name leads nowhere.
        """
        if self._made is None:
            self._made = make(self._names, ("sending", "sent"))
        if not (self._made or meta):
            return nullcontext(jobs)
        return Leaving(self._made, task, queue, jobs, meta)


class Leaving:
    """Jobs on their way out: within it, the same ones with what travels with them."""

    __slots__ = ("_jobs", "_made", "_meta", "_outgoing", "_queue", "_task")

    def __init__(
        self,
        made: Sequence[Middleware],
        task: str,
        queue: str,
        jobs: list[NewJob],
        meta: Mapping[str, Any] | None,
    ) -> None:
        self._made = made
        self._task = task
        self._queue = queue
        self._jobs = jobs
        self._meta = meta
        self._outgoing: list[OutgoingJob] = []  # that middleware knows of

    def __enter__(self) -> list[NewJob]:
        """Have them changed.

        Raises:
            TypeError, ValueError: meta makes no sense, with what was added to it.
            BaseException: whatever middleware raises.
        """
        if not self._made:
            field = encode_meta(self._meta or {})
            return [job._replace(meta=field) for job in self._jobs]
        try:
            return [self._change(job) for job in self._jobs]
        except BaseException as error:
            self._tell(self._outgoing, error)
            raise

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> None:
        """Tell which were sent, and what has kept the others from that."""
        if self._outgoing:
            sent = len(self._outgoing) if error is None else 0
            taken = error.taken if isinstance(error, QueueFull) else sent
            self._tell(self._outgoing[:taken], None)
            self._tell(self._outgoing[taken:], error)

    def _change(self, job: NewJob) -> NewJob:
        call, meta = job.call, dict(self._meta or {})
        outgoing = OutgoingJob(job.id, self._task, self._queue, call.args, call.kwargs, meta)
        self._outgoing.append(outgoing)
        for middleware in self._made:
            middleware.sending(outgoing)
        return job._replace(meta=encode_meta(meta)) if meta else job

    def _tell(self, jobs: Sequence[OutgoingJob], error: BaseException | None) -> None:
        for middleware in self._made:
            for job in jobs:
                try:
                    middleware.sent(job, error)
                except Exception:  # the job was sent, or not, whatever one thinks of it
                    log.exception("%s.sent has failed", type(middleware).__qualname__)
