"""Experiments on real processes: which execution model to choose, and what locks are for.

`models` measures; `figures` draws conclusions, and `report` and `chart` show them. `locks` is an
experiment of its own.
"""
