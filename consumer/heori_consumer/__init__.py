"""The consuming half: a supervisor that runs no user code, and worker processes that do."""
