"""The supervisor: the process that claims, settles and keeps leases, and runs no user code.

supervisor: starts the roles and ends them in order. roles: makes them. context: what they share.
options, redis_retry, broken_keys, leases, job_locks: parts of that.

Its roles, each a file with a class that has one verb, `run`:
listener hears of work; claimer claims it, with queue_order; pool (a package of its own) has it run;
acknowledger settles it, dependents enqueues what has waited for it; lease_keeper extends leases,
reaper takes over those of consumers that are gone; dead_workers gives up the locks of workers that
are gone; cancellation drops what was cancelled; scheduler moves what is due; failover follows
Redis; queue_sampler and the GIL's sampler count; registration is for RQ's tools.

For people: metrics and health, served by endpoint; remote_control obeys rq's commands; notify tells
systemd how far it is.
"""
