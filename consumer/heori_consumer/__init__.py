"""The consumer. Its rooms:

supervisor: the process that claims, settles and keeps leases, and runs no user code.
pool: which workers there are, and what each of them holds.
worker: the process that runs jobs in its slots, and does nothing else.
between: what these two processes say to each other and share; they share no other code.
gil: what the GIL costs, measured from inside a worker and from outside.

supervisor → pool → between ← worker; a worker's program is named to the process that runs it and
never imported by the supervisor.
"""
