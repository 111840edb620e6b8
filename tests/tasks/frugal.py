"""Functions that need nothing: neither rq nor a connection."""


def add(a: int, b: int) -> int:
    return a + b
