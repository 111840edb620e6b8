"""The HTTP service: a route for each task, jobs and queues to look at, and the tokens of callers.

`app` has the routes, `server` runs it until a signal, `auth` lets callers in, `responses` has the
bodies of answers, `schema` the arguments of tasks, and `metrics` counts the requests.
"""
