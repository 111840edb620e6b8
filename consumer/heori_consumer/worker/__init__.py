"""The worker process: runs jobs in its slots, and nothing else.

process: its main thread, the frames from and to the supervisor. slots: threads, or coroutines on an
event loop. execution: one job from its claim to its outcome; running_job: that job meanwhile.
interrupt: ends a call from outside. middleware: what runs around each job. failures: what of
that is logged. restore: puts back what
a task has changed for all. signals: which of them it lets pass. forkserver: the process that forks
the workers; libraries: what it imports for them.
"""
