"""Every key in Redis that Heori reads or writes, and its type; `catalogue` lists them.

RQ's stand in `heori_common.protocol.rq_keys`; ours are under ``<prefix>:heori:``.

The docstring of a method begins with the type that its key has in Redis, and ends with when it is
gone. Scripts get the same names from here: `job_key(id)` in Lua is `Keys.job`, see
`heori_common.protocol.expansion`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from heori_common.protocol.rq_keys import RqKeys

TENANT = "@@"  # between a queue and its tenant; RQ may have one of them in a name of its own


def tenant_queue(queue: str, tenant: str) -> str:
    """The name of the RQ queue that a tenant of a queue has for itself."""
    return f"{queue}{TENANT}{tenant}" if tenant else queue


def whole_queue(queue: str) -> str:
    """The queue whose tenant's this is; or that queue itself."""
    return queue.partition(TENANT)[0]


def service_of(queues: Iterable[str]) -> str:
    """The name of the service of all consumers that serve just these queues."""
    named = "\n".join(sorted(set(queues))).encode(errors="surrogateescape")
    return hashlib.blake2b(named, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Keys(RqKeys):
    """RQ's keys and Heori's."""

    def turns(self, queue: str) -> str:
        """zset tenant → how soon its turn is: those whose jobs wait, see tenants.lua.

        It is Heori's, and is found by the key of the queue alone. The names of tenants' queues
        have an @@ in them, too, but something after it; those of other queues have none.

        Gone when their jobs are claimed.
        """
        return f"{self.queue(queue)}{TENANT}"

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

    def schedules(self) -> str:
        """set of the services that have periodic jobs

        Gone with the last of them.
        """
        return f"{self.prefix}:heori:schedules"

    def schedule(self, service: str) -> str:
        """hash version → since when, and the periodic entries in it, see current_version.lua

        Gone when the code of its consumers has none any more.
        """
        return f"{self.prefix}:heori:schedule:{service}"

    def schedule_versions(self, service: str) -> str:
        """zset version and consumer → until when that is believed (ms): who has which of those

        Gone by itself.
        """
        return f"{self.prefix}:heori:schedule-versions:{service}"

    def entry(self, name: str) -> str:
        """hash of a periodic entry: its last tick, and what was counted

        Gone a month after the entry. Stays for ever: one for each entry.
        """
        return f"{self.prefix}:heori:entry:{name}"

    def told(self, consumer: str) -> str:
        """channel: what is told to one consumer"""
        return f"{self.prefix}:heori:told:{consumer}"

    def leased(self) -> str:
        """set of the names of queues with jobs under leases, or that wait for locks or rates

        Gone a moment after the last of them, or with their queue where nobody serves that any more.
        """
        return f"{self.prefix}:heori:leased"

    def watched(self, queue: str) -> str:
        """string, expires: since when expired leases are looked for without a break (s)

        Gone by itself.
        """
        return f"{self.prefix}:heori:watched:{queue}"

    def inputs(self, job_id: str) -> str:
        """hash: of a job of a flow, for whom it waits and what these have returned, see flows.lua

        Gone with the job; a year later where rq's own tools have deleted it.
        """
        return f"{self.prefix}:heori:inputs:{job_id}"

    def ended(self) -> str:
        """zset how a job has ended, how long it is kept and its id → when (s): others wait for it

        Gone a moment later, when these are queued.
        """
        return f"{self.prefix}:heori:ended"

    def parked(self, queue: str) -> str:
        """zset id → when to look whether what is set aside still waits, in epoch seconds

        Gone when they wait no more.
        """
        return f"{self.prefix}:heori:parked:{queue}"

    def weights(self) -> str:
        """hash tenant's queue → its weight, where that is not 1, see tenants.lua

        Stays for ever: one.
        """
        return f"{self.prefix}:heori:weights"

    def paused(self) -> str:
        """hash what is paused → since when (s), see pauses.lua

        Gone when nothing is paused.
        """
        return f"{self.prefix}:heori:paused"

    def paused_jobs(self, task: str) -> str:
        """zset id → since when it waits for its task to be resumed (µs)

        Gone when that is.
        """
        return f"{self.prefix}:heori:paused-jobs:{task}"

    def rate(self, rate: str) -> str:
        """string, expires: up to when the rate of that name is used up (µs), see rates.lua

        Gone by itself.
        """
        return f"{self.prefix}:heori:rate:{rate}"

    def rates(self, queue: str) -> str:
        """zset rate → when to look whether jobs may begin that wait for it (µs)

        Gone when they wait no more.
        """
        return f"{self.prefix}:heori:rates:{queue}"

    def rate_line(self, queue: str, rate: str) -> str:
        """zset id → since when it waits for a rate (µs); below 0: is back on its queue

        Gone when they wait no more.
        """
        return f"{self.prefix}:heori:rate-line:{queue}{TENANT}{rate}"

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

    def same_calls(self) -> str:
        """hash of calls that are not to be sent while they wait or run, to the ids of their jobs

        Gone with the last of them: what is over is struck within minutes, if a consumer runs.
        """
        return f"{self.prefix}:heori:same-calls"

    def import_of(self, digest: str) -> str:
        """string, expires: how many jobs of an import are in, by the digest of what it is

        Gone by itself.
        """
        return f"{self.prefix}:heori:import:{digest}"

    def versions(self) -> str:
        """zset version of the tasks → when a consumer with it began last (s): those published

        Gone by itself.
        """
        return f"{self.prefix}:heori:tasks"

    def published(self, version: str) -> str:
        """hash task → what a producer needs to send it by name, as JSON: the tasks of a version

        Gone a day after the last consumer with them, or when there are many newer versions.
        """
        return f"{self.versions()}:{version}"

    def lessons(self, service: str) -> str:
        """hash task → what consumers of the model auto have learned of it, as JSON

        Gone 30 days after the last of them has learned something.
        """
        return f"{self.prefix}:heori:lessons:{service}"

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
        """channel: the locks handed to a process; with `/<n>`, to one of its threads"""
        return f"{self.prefix}:heori:granted:{process}"
