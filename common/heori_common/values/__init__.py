"""How arguments and results travel: as JSON for all, and their types beside it for Heori.

- `forms`: how a value of each type is written and read.
- `hints`: what a task's hints promise, and whether JSON alone keeps it.
- `arguments`, `results`: the two ways of a task's values.

What was validated is never validated again where it arrives: it is put together from its parts, so
that each validator has its effect once.
"""
