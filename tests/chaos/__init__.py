"""What Heori must survive, done to real consumers and counted: see `python -m tests.chaos --help`.

Each scenario is a file: `kills`, `quarantine`, `drains`, `soak`. Each is a function that returns
what it counted; the counts say by `problems()` what is not as it must be.
"""
