"""The supervisor: the process that runs no user code, and its roles."""
