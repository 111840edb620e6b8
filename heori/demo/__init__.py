"""What `heori up` and `heori load` run.

`up` starts the processes of a run (`processes`), of which `producer` is one; `tally` counts the
jobs in Redis, and `display` shows how it goes. `load` sends jobs at a given pace. Both send with
`sender`.
"""
