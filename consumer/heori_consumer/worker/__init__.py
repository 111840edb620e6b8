"""The worker process: runs jobs in its slots, and nothing else.

process: from its start to its end. link: its conversation with the supervisor. slots: threads, or
coroutines on an event loop. execution: one job from its claim to its outcome; running_job: that job
meanwhile. interrupt: ends a call from outside; programs: and what it has started. loops: those of
coroutines. middleware: what runs around each job; hooks: around all of them. failures: what of
that is logged. restore: puts back what a task has changed for all. signals: which of them it lets
pass. chance: random numbers. ending: what a program does at its end. forkserver: the process that
forks the workers; libraries: what it imports for them.
"""
