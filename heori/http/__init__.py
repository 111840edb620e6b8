"""The HTTP service: tasks as routes, jobs and queues to look at, and who may call."""
