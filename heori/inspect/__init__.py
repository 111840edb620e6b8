"""What there is in a Redis: read for the command line, the HTTP service and `heori doctor`.

Nothing here prints. `queues` and `consumers` read what is registered, `job`, `dead_letters` and
`locks` one thing in depth, `scraper` asks consumers for their metrics, `overview` puts all of it
together, and `checks` says what is wrong.
"""
