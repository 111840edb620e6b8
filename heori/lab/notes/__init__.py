"""The notes that Heori comes from, each as an experiment that is run on this machine.

Every module of a note has `measure`, which does it and returns figures, and `findings`, which
says what these figures show. `measure` runs in a process of its own (`measuring`): it begins with
one thread, and what it does to itself harms nothing. `running` starts that and shows how far it
is; `showing` and `drawing` show what came of it.
"""
