"""How jobs are sent: where to, for whom, when, and what to do at a limit. Apart from arguments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Protocol, TypedDict, Unpack, get_args, runtime_checkable

from heori_common import names
from heori_common.duration import Duration, check_wait, moment, seconds
from heori_common.errors import short
from heori_common.protocol.commands import WhenFull
from heori_common.protocol.keys import tenant_queue
from heori_common.protocol.meta import decode_meta, encode_meta
from heori_common.public import public

_POLICIES: tuple[WhenFull, ...] = get_args(WhenFull)
_OF_ONE_JOB = ("key", "unique", "debounce")

Unique = Literal["until_done"]


@runtime_checkable
class HasId(Protocol):
    """A job that was sent: any handle."""

    id: str


class OptionsOfMany(TypedDict, total=False):
    """The options of `Options` that any number of jobs can have, as type checkers know them."""

    queue: str | None
    tenant: str | None
    delay: Duration | None
    at: datetime | None
    at_front: bool
    expires: Duration | datetime | None
    after: Sequence[HasId | str] | HasId | str | None
    meta: Mapping[str, Any] | None
    when_full: WhenFull | None
    full_timeout: float | None


class AllOptions(OptionsOfMany, total=False):
    """Those too that only a job by itself can have."""

    key: str | None
    unique: Unique | None
    debounce: Duration | None


@public
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to send jobs. What is None is as the task, the producer or the settings say.

    Attributes:
        queue: where to send them, in place of the task's own queue.
        tenant: for whom they are, such as a customer. Tenants of a queue take turns, so that one
            who sends many jobs does not keep another's few waiting; those of a tenant wait in
            an RQ queue of their own, such as orders@@acme. The limit of a queue holds for each
            of its tenants alone: one that fills it does not keep the others out.
        delay: how long to wait before they may run: seconds, a timedelta, or a text such as
            "5min". It is counted by the server's clock.
        at: when they may run, as an aware datetime; at once when that is past.
        at_front: put them before the jobs that wait already.
        expires: what has not begun so long after it was sent, or at this time, as an aware
            datetime, is not run: it ends as expired. It holds for each try of a job.
        key: an idempotency key, such as "order-17", of one job: another call with the same task,
            tenant and key within HEORI_KEY_TTL sends nothing, and returns the same job.
        unique: "until_done": while the same call waits or runs, with the same task, tenant and
            arguments, nothing is sent, and that job is returned.
        debounce: how long to wait for a later call of the same task, tenant, queue and, if there is
            one, key. That takes the place of this one, in the same job, and waits as long again.
        after: jobs for whose ends they wait: handles, or ids. They are cancelled once all of these
            have ended, and one of them not well; a job of which nothing is left keeps nobody.
        meta: what travels with them, as JSON, in RQ's own field of that name: a dict whose keys are
            texts, of 16,384 bytes at most. `current_job().meta` has it.
        when_full: what to do when the queue is at its limit: "block" waits for room, in turn with
            all other producers that wait; "reject" raises QueueFull; "drop_oldest" drops the job
            that has waited longest: it fails, and says why.
        full_timeout: seconds to wait for room at most, without any job being let in.

    Raises:
        TypeError, ValueError: an option makes no sense, alone or beside the others.
    """

    queue: str | None = None
    tenant: str | None = None
    delay: Duration | None = None
    at: datetime | None = None
    at_front: bool = False
    expires: Duration | datetime | None = None
    key: str | None = None
    unique: Unique | None = None
    debounce: Duration | None = None
    after: Sequence[HasId | str] | HasId | str | None = None
    meta: Mapping[str, Any] | None = field(default=None, hash=False)
    when_full: WhenFull | None = None
    full_timeout: float | None = None

    def __post_init__(self) -> None:
        if self.queue is not None:
            names.check_queue(self.queue)
        if self.tenant is not None:
            names.check_tenant(self.tenant)
        self._check_times()
        if not isinstance(self.at_front, bool):
            raise TypeError(f"at_front={short(self.at_front)}: True or False is needed")
        if self.key is not None:
            names.check_name("key", self.key)
        if self.unique not in (None, "until_done"):
            raise ValueError(f'unique={short(self.unique)}: "until_done" or None is needed')
        if self.unique and (self.key is not None or self.debounce is not None):
            raise ValueError("unique is for the same call; neither key nor debounce goes with it")
        self._check_after()
        if self.meta is not None:  # as it is now: it may be changed later
            object.__setattr__(self, "meta", decode_meta(encode_meta(self.meta)))
        if self.when_full is not None and self.when_full not in _POLICIES:
            raise ValueError(
                f"when_full={short(self.when_full)}: one of {', '.join(_POLICIES)} is needed"
            )
        check_wait("full_timeout", self.full_timeout)

    def _check_after(self) -> None:
        if self.after is None:
            return
        if not isinstance(self.after, HasId | str | Iterable):
            raise TypeError(f"after={short(self.after)}: handles or ids of jobs are needed")
        given = (self.after,) if isinstance(self.after, HasId | str) else tuple(self.after)
        for each in given:
            if not isinstance(each, HasId | str):
                raise TypeError(f"after={short(each)}: handles or ids of jobs are needed")
            if isinstance(each, str) and any(
                "\ud800" <= character <= "\udfff" for character in each
            ):
                raise ValueError(f"after={short(each)}: no job has an id that is no Unicode text")
        object.__setattr__(self, "after", given or None)
        for name in ("delay", "at", "debounce"):
            if given and getattr(self, name) is not None:
                raise ValueError(f"{name} says when, and after= does, too; only one is needed")
        if given and self.unique:
            raise ValueError("unique is for a call that waits for nothing; after= goes without it")

    def _check_times(self) -> None:
        given = [name for name in ("delay", "at", "debounce") if getattr(self, name) is not None]
        if len(given) > 1:
            ways = f"{', '.join(given[:-1])} and {given[-1]}"
            raise ValueError(f"{ways} are ways to say when; only one of them is needed")
        if self.at is not None:
            moment("at", self.at)
        waits = seconds(getattr(self, given[0])) if given and self.at is None else 0.0
        if isinstance(self.expires, datetime):
            moment("expires", self.expires)
            never = self.at is not None and self.expires <= self.at
        else:
            never = self.expires is not None and seconds(self.expires) <= waits
        if never:
            raise ValueError(f"expires={self.expires}: no job would run, as none may begin before")

    def but(self, **options: Unpack[AllOptions]) -> "Options":
        """These, with some others in place of theirs.

        Raises:
            TypeError, ValueError: an option makes no sense, alone or beside the others.
        """
        if unknown := options.keys() - self.__dataclass_fields__.keys():
            known = ", ".join(self.__dataclass_fields__)
            raise TypeError(f"there is no option {', '.join(sorted(unknown))}; known: {known}")
        return replace(self, **options)

    def check_many(self) -> None:
        """See that they can be options of many jobs at once.

        Raises:
            ValueError: one of them is for one job.
        """
        for name in _OF_ONE_JOB:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is for one job, and not for many at once")

    @property
    def is_plain(self) -> bool:
        """Whether they say at most where to, for whom, and what to do at a limit."""
        return (
            self.delay is None
            and self.at is None
            and self.expires is None
            and self.key is None
            and self.unique is None
            and self.debounce is None
            and not (self.at_front or self.after or self.meta)
        )

    @property
    def after_ids(self) -> list[str]:
        """The ids of the jobs for whose ends they wait."""
        given: Any = self.after or ()
        return [each if isinstance(each, str) else each.id for each in given]

    def queue_for(self, default: str) -> str:
        """The RQ queue that jobs are sent to whose task's own queue is the default."""
        queue = default if self.queue is None else self.queue
        return queue if self.tenant is None else tenant_queue(queue, self.tenant)

    def when(self) -> dict[str, Any]:
        """When and where in the queue they come, as `Commands.enqueue` wants it."""
        when: dict[str, Any] = {}
        if (waits := self.debounce if self.delay is None else self.delay) is not None:
            when["delay"] = seconds(waits)
        if self.at is not None:
            when["at"] = moment("at", self.at)
        if self.at_front:
            when["at_front"] = True
        return when
