"""What the GIL costs, measured: the states of threads that have a job, by worker and by task.

states: what a thread's line of the kernel's says, and how such findings add up; for both sides.
sampler, usage: looks at workers from outside; the supervisor's.
inside: what only a process itself can do, such as to find its GIL; the workers'.

A thread's state is read from outside its process, where nothing has to wait for the GIL to look
at it. `gil_loss` from that is within 4 points of the truth on average, where CPU and wall time
alone are wrong by 30 (`make bench ARGS="gil"` repeats the comparison).
"""
