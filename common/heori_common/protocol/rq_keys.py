"""The keys in Redis that are RQ's; see `heori_common.protocol.keys` for the rest of the catalogue.

They are RQ 3.0.0's own (``rq/queue.py``, ``rq/job.py``, ``rq/registry.py``, ``rq/results.py``,
``rq/scheduler.py``, ``rq/worker``).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RqKeys:
    """Key names under one prefix (RQ's ``RQ_KEY_PREFIX``)."""

    prefix: str = "rq"

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
        """zset execution → when it would expire: those of a job that run

        Gone when it has ended.
        """
        return f"{self.prefix}:executions:{job_id}"

    def execution(self, job_id_and_execution: str) -> str:
        """hash: one of those executions, named `id:execution`

        Gone when it has ended.
        """
        return f"{self.prefix}:execution:{job_id_and_execution}"

    def worker_executions(self, name: str) -> str:
        """set of the executions of one worker, each `id:execution`

        Gone when they have ended.
        """
        return f"{self.worker(name)}:executions"

    def groups(self) -> str:
        """set of the names of groups

        Gone with the last of them.
        """
        return f"{self.prefix}:groups"

    def group(self, group: str) -> str:
        """set of the ids of a group's jobs

        Gone with its jobs, a minute later at most; Heori makes none.
        """
        return f"{self.prefix}:group:{group}"

    def intermediate(self, queue: str) -> str:
        """list of job ids that stock workers have popped and not yet begun

        Gone when they have begun.
        """
        return f"{self.queue(queue)}:intermediate"

    def first_seen(self, queue: str, job_id: str) -> str:
        """string, expires: when a job was seen there first, in epoch seconds

        Gone by itself.
        """
        return f"{self.intermediate(queue)}:first_seen:{job_id}"

    def cleaning(self, queue: str) -> str:
        """string, expires: there while a stock worker looks after the registries of a queue

        Gone when it has, or by itself.
        """
        return f"{self.prefix}:clean_registries:{queue}"

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
        """zset id → since when it waits for other jobs, a lock or a rate, or is of a paused task

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

    def limits(self) -> str:
        """set of the names of all rate limits

        Gone with the last job that has one.
        """
        return f"{self.prefix}:rl-keys"

    def limit(self, limit: str) -> str:
        """hash of a rate limit: how many jobs it lets be queued or run at once

        Gone with the last job that has it.
        """
        return f"{self.prefix}:rl:{limit}"

    def limit_allowed(self, limit: str) -> str:
        """zset id → since when a rate limit lets it be queued and run

        Gone when they have ended.
        """
        return f"{self.limit(limit)}:allowed"

    def limit_waiting(self, limit: str) -> str:
        """zset id → since when it waits for a rate limit

        Gone when they wait no more.
        """
        return f"{self.limit(limit)}:rate_limited"

    def suspended(self) -> str:
        """string: no consumer claims jobs while it is there (`rq suspend`)

        Gone with `rq resume`.
        """
        return f"{self.prefix}:suspended"

    def probe(self) -> str:
        """string that is never there: whether nothing may be written to it tells how a server is

        Gone always.
        """
        return f"{self.prefix}:heori:probe"

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
