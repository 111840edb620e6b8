"""`heori top` on a terminal.

`feed` takes readings in a thread of its own, so that no key waits for Redis, and `tables` makes of
each what people read; `heori top --once` prints the same. `app` shows it: a `pane` for each table,
with the rows where `grid` has them, and `dialogs` above. `details` and `commands` are what Enter, p
and k do.
"""
