"""Which workers there are, and what each of them holds.

pool: dispatches claims and says what came of each. roster: which workers there are. handle: one of
them, with its claims. host: the process that it runs in; forkserver: what starts those; link: the
socket to it; output: what it writes. failures: those of all, in the log.
"""
