"""How a consumer of the model auto finds its size: pure, without a clock, I/O or threads.

size: how large a pool is, and may become. The pool is told a size and knows nothing of the rest,
so what looks at a pool and tells it a size is the supervisor's.
demand, queueing, model: what jobs need, as seen, and what a pool of each size would do with them.
load, controller: whether it does, and where to go; move: that, with what came of it; words: why,
for people.
held_up: whether a lock is what all wait for. apart: which tasks are kept from each other's way.
lesson: what is kept of it.
"""
