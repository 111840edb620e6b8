"""The catalogue of keys: every key in Redis that Heori reads or writes, and its type.

The first part is RQ 3.0.0's own (``rq/queue.py``, ``rq/job.py``, ``rq/registry.py``,
``rq/results.py``, ``rq/scheduler.py``, ``rq/worker``); ours stand under ``<prefix>:heori:``.

The docstring of a method begins with the type that its key has in Redis, and ends with when it is
gone. Scripts get the same names from here: `job_key(id)` in Lua is `Keys.job`, see
`heori_common.protocol.expansion`.
"""

import hashlib
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


def tenant_queue(queue: str, tenant: str) -> str:
    """The name of the RQ queue that a tenant of a queue has for itself."""
    return f"{queue}@{tenant}" if tenant else queue


def whole_queue(queue: str) -> str:
    """The queue whose tenant's this is; or that queue itself."""
    return queue.partition("@")[0]


def service_of(queues: Iterable[str]) -> str:
    """The name of the service of all consumers that serve just these queues."""
    named = "\n".join(sorted(set(queues))).encode(errors="surrogateescape")
    return hashlib.blake2b(named, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix (RQ's ``RQ_KEY_PREFIX``)."""

    prefix: str = "rq"

    # RQ's

    def queues(self) -> str:
        """set of queue keys

        Stays for ever: one.
        """
        return f"{self.prefix}:queues"

    def queue(self, queue: str) -> str:
        """list of job ids, popped from the left

        Gone when its jobs are claimed.
        """
        return f"{self.prefix}:queue:{queue}"

    def turns(self, queue: str) -> str:
        """zset tenant → how soon its turn is: those whose jobs wait, see tenants.lua.

        It is Heori's, and is found by the key of the queue alone. The names of tenants' queues
        have an @ in them, too, but something after it; those of other queues have none.

        Gone when their jobs are claimed.
        """
        return f"{self.queue(queue)}@"

    def queue_name(self, key: str) -> str:
        """The inverse of `queue`."""
        return key.removeprefix(self.queue(""))

    def job(self, job_id: str) -> str:
        """hash: one job, as RQ keeps it

        Gone with its result: after the job's result_ttl, or failure_ttl.
        """
        return f"{self.prefix}:job:{job_id}"

    def dependents(self, job_id: str) -> str:
        """set of the jobs that wait for a job

        Gone with the job.
        """
        return f"{self.job(job_id)}:dependents"

    def results(self, job_id: str) -> str:
        """stream of the results of a job, the latest last

        Gone with the job.
        """
        return f"{self.prefix}:results:{job_id}"

    def dependencies(self, job_id: str) -> str:
        """set of the jobs that a job waits for; the second colon is RQ's

        Gone with the job.
        """
        return f"{self.prefix}:job::{job_id}:dependencies"

    def executions(self, job_id: str) -> str:
        """zset of the executions of a job that stock workers run

        Gone when it has ended.
        """
        return f"{self.prefix}:executions:{job_id}"

    def execution(self, job_id_and_execution: str) -> str:
        """hash: one of those executions, named `id:execution`

        Gone when it has ended.
        """
        return f"{self.prefix}:execution:{job_id_and_execution}"

    def group(self, group: str) -> str:
        """set of the ids of a group's jobs

        Gone with its jobs, if one of rq's workers looks after it; Heori makes none.
        """
        return f"{self.prefix}:group:{group}"

    def intermediate(self, queue: str) -> str:
        """list of job ids that stock workers have popped and not yet begun

        Gone when they have begun.
        """
        return f"{self.queue(queue)}:intermediate"

    def wip(self, queue: str) -> str:
        """zset `id:execution` → end of the lease: the jobs being worked on

        Gone when they have ended.
        """
        return f"{self.prefix}:wip:{queue}"

    def finished(self, queue: str) -> str:
        """zset id → when it expires

        Gone with its jobs, a minute later at most.
        """
        return f"{self.prefix}:finished:{queue}"

    def failed(self, queue: str) -> str:
        """zset id → when it expires; the dead-letter queue

        Gone with its jobs, a minute later at most.
        """
        return f"{self.prefix}:failed:{queue}"

    def scheduled(self, queue: str) -> str:
        """zset id → when it is due, in epoch seconds; rq writes whole ones, we fractions, too

        Gone when they were due.
        """
        return f"{self.prefix}:scheduled:{queue}"

    def scheduler_lock(self, queue: str) -> str:
        """string, expires: the consumer that moves the due jobs of that queue

        Gone by itself.
        """
        return f"{self.prefix}:scheduler-lock:{queue}"

    def deferred(self, queue: str) -> str:
        """zset id → since when it waits for other jobs or for a lock

        Gone when they wait no more.
        """
        return f"{self.prefix}:deferred:{queue}"

    def ready(self, queue: str) -> str:
        """zset id → since when it need not wait for other jobs any more, and is not queued yet

        Gone when they are queued.
        """
        return f"{self.prefix}:ready:{queue}"

    def canceled(self, queue: str) -> str:
        """zset id → when it expires; what rq's own tools have cancelled: when that was, at first

        Gone with its jobs, a minute later at most.
        """
        return f"{self.prefix}:canceled:{queue}"

    def suspended(self) -> str:
        """string: no consumer claims jobs while it is there (`rq suspend`)

        Gone with `rq resume`.
        """
        return f"{self.prefix}:suspended"

    def workers(self) -> str:
        """set of worker keys

        Gone with the last consumer.
        """
        return f"{self.prefix}:workers"

    def workers_of(self, queue: str) -> str:
        """set of the keys of the workers that listen on one queue

        Gone with the last consumer of that queue.
        """
        return f"{self.prefix}:workers:{queue}"

    def worker(self, name: str) -> str:
        """hash: what RQ calls a worker is one of our consumers

        Gone by itself, a minute after the consumer.
        """
        return f"{self.prefix}:worker:{name}"

    def commands_to(self, worker: str) -> str:
        """channel of the commands to one worker (``rq.command``)"""
        return f"{self.prefix}:pubsub:{worker}"

    # Heori's

    def service(self, service: str) -> str:
        """string, expires: there while it is known which queues consumers of that service take from

        Gone by itself.
        """
        return f"{self.prefix}:heori:service:{service}"

    def services(self, queue: str) -> str:
        """zset service → until when that is believed (s): whose consumers take from that queue

        Gone by itself.
        """
        return f"{self.prefix}:heori:services:{queue}"

    def offers(self, service: str) -> str:
        """zset offer → since when it waits (µs): the idle consumers of a service, see offers.lua

        Gone when none is idle, or by itself.
        """
        return f"{self.prefix}:heori:offers:{service}"

    def handed(self, service: str) -> str:
        """zset hand-over or wake-up → when it is taken back (µs): what no consumer has confirmed

        Gone when all is confirmed, or by itself.
        """
        return f"{self.prefix}:heori:handed:{service}"

    def leader(self, service: str) -> str:
        """string, expires: the consumer that does for a service what one can do, see leader.lua

        Gone by itself.
        """
        return f"{self.prefix}:heori:leader:{service}"

    def watching(self, service: str) -> str:
        """string, expires: since when leaders of a service look for expired leases (s)

        Gone by itself.
        """
        return f"{self.prefix}:heori:watching:{service}"

    def told(self, consumer: str) -> str:
        """channel: what is told to one consumer"""
        return f"{self.prefix}:heori:told:{consumer}"

    def leased(self) -> str:
        """set of the names of queues with jobs under leases, or that wait for locks

        Gone a moment after the last of them.
        """
        return f"{self.prefix}:heori:leased"

    def watched(self, queue: str) -> str:
        """string, expires: since when expired leases are looked for without a break (s)

        Gone by itself.
        """
        return f"{self.prefix}:heori:watched:{queue}"

    def parked(self, queue: str) -> str:
        """zset id → when to look whether it still waits for a lock, in epoch seconds

        Gone when they wait no more.
        """
        return f"{self.prefix}:heori:parked:{queue}"

    def bound(self, queue: str) -> str:
        """hash: the limit of a queue, and what was counted since it has one

        Stays for ever: one for each queue with a limit.
        """
        return f"{self.prefix}:heori:bound:{queue}"

    def waiting_producers(self, queue: str) -> str:
        """zset ticket → when it came: the producers that wait for room in a queue

        Gone when they wait no more.
        """
        return f"{self.prefix}:heori:line:{queue}"

    def ticket(self, queue: str, ticket: str) -> str:
        """string, expires: a place among those, while its producer looks after it

        Gone by itself.
        """
        return f"{self.waiting_producers(queue)}:{ticket}"

    def dropped(self, queue: str) -> str:
        """list of the ids of jobs dropped latest from a full queue

        Gone with the failed jobs of that queue, a minute later at most.
        """
        return f"{self.prefix}:heori:dropped:{queue}"

    def janitor(self) -> str:
        """string, expires: the consumer that tidies up, or did so last

        Gone by itself.
        """
        return f"{self.prefix}:heori:janitor"

    def idle(self) -> str:
        """zset queue key → since when nothing is left of it: those that will be forgotten soon

        Gone some minutes after the last of them.
        """
        return f"{self.prefix}:heori:idle"

    def idempotency(self, task: str, key: str, tenant: str = "") -> str:
        """string, expires: the id of the job that was sent with that key, for that tenant

        Gone after HEORI_KEY_TTL.
        """
        whose = f"{task}@{tenant}" if tenant else task
        return f"{self.prefix}:heori:key:{whose}:{key}"

    def import_of(self, digest: str) -> str:
        """string, expires: how many jobs of an import are in, by the digest of what it is

        Gone by itself.
        """
        return f"{self.prefix}:heori:import:{digest}"

    def counter(self, queue: str) -> str:
        """string, expires: which service tells how many jobs of that queue are where

        Gone by itself.
        """
        return f"{self.prefix}:heori:counter:{queue}"

    def lock(self, kind: str, name: str) -> str:
        """hash of a mutex or semaphore, see lock_record.lua; the braces keep all of it together

        Gone when nobody holds it or waits for it. Stays for ever: one for each semaphore whose
        limit was changed.
        """
        return f"{self.prefix}:heori:lock:{{{kind}:{name}}}"

    def lock_name(self, key: str) -> tuple[str, str]:
        """The inverse of `lock`: its kind and its name."""
        stem, _, _ = self.lock("", "").partition(":}")
        kind, _, name = key.removeprefix(stem)[:-1].partition(":")
        return kind, name

    def holders(self, lock: str) -> str:
        """zset request → end of its lease (µs): who holds the lock of that key

        Gone when nobody holds it.
        """
        return f"{lock}:holders"

    def waiters(self, lock: str) -> str:
        """zset request → ticket: who waits for the lock of that key

        Gone when nobody waits for it.
        """
        return f"{lock}:waiters"

    def locks(self) -> str:
        """zset lock → when it should be looked at (µs): all that are in use

        Gone when no lock is in use.
        """
        return f"{self.prefix}:heori:locks"

    def lock_waits(self) -> str:
        """hash owner → the lock and the request with which it waits

        Gone when nobody waits for a lock.
        """
        return f"{self.prefix}:heori:waits"

    def owner_wait(self, owner: str) -> str:
        """string, expires: the other owner for whom an owner waits, as for the end of a job

        Gone by itself.
        """
        return f"{self.lock_waits()}:{owner}"

    def fence(self) -> str:
        """string: the last fence that any lock gave

        Stays for ever: one.
        """
        return f"{self.prefix}:heori:fence"

    def lock_counter(self) -> str:
        """string, expires: which service tells how many hold locks and wait for them

        Gone by itself.
        """
        return f"{self.prefix}:heori:lock-counter"

    def forced(self) -> str:
        """string: how many locks were taken from their holders by hand

        Stays for ever: one.
        """
        return f"{self.prefix}:heori:forced"

    def fenced(self, resource: str) -> str:
        """hash: who wrote last to something that a fence guards

        Gone a year after the last of these writes.
        """
        return f"{self.prefix}:heori:fenced:{{{resource}}}"

    def granted(self, process: str) -> str:
        """channel: the locks that were handed to one process"""
        return f"{self.prefix}:heori:granted:{process}"


class CatalogueEntry(NamedTuple):
    """One key of the catalogue.

    Attributes:
        name: of its method of `Keys`.
        parameters: of that method.
        about: its type in Redis, and what it holds.
        end: when it is gone, or how many of it stay; empty for a channel, which is no key.
    """

    name: str
    parameters: tuple[str, ...]
    about: str
    end: str


REDIS_TYPES = ("channel", "hash", "list", "set", "stream", "string", "zset")


def catalogue() -> Iterator[CatalogueEntry]:
    """All keys, in the order in which they stand here."""
    for name, method in vars(Keys).items():
        about = inspect.getdoc(method) or ""
        # The others take a key apart.
        if inspect.isfunction(method) and re.match(rf"({'|'.join(REDIS_TYPES)})\b", about):
            said, _, end = about.rpartition("\n\n")
            if not said:
                said, end = about, ""
            parameters = tuple(inspect.signature(method).parameters)[1:]
            yield CatalogueEntry(name, parameters, said, end)
