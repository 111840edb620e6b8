"""Names of queues and tenants, and what they may look like."""

import re

MAX_NAME_CHARS = 512  # they are parts of keys


def check_length(what: str, name: str) -> str:
    """Refuse a name that is too long.

    Args:
        what: it is the name of.

    Raises:
        ValueError: it is.
    """
    if len(name) > MAX_NAME_CHARS:
        raise ValueError(
            f"{what} {name[:20]!r}…: it has {len(name)} characters; {MAX_NAME_CHARS} are the most"
        )
    return name


def check_queue(name: str) -> str:
    """Refuse a queue name that would make other keys, or that nobody could type.

    Raises:
        ValueError: it is empty or too long, has commas, blanks or an @ in it, or ends as the name
            of a key of RQ's does.
    """
    check_length("queue", name)
    if not re.fullmatch(r"[^\s,@]+", name):
        raise ValueError(
            f"queue {name!r}: a name without blanks, commas or @ is needed"
            + ("; a tenant is named apart from its queue" if "@" in name else "")
        )
    if name.endswith(":intermediate"):
        raise ValueError(f"queue {name!r}: RQ has a key of that name for another queue")
    return name


def check_tenant(name: str) -> str:
    """Refuse a tenant's name that would make other keys, or that nobody could type.

    Raises:
        ValueError: it is empty or too long, or has colons, commas or blanks in it.
    """
    check_length("tenant", name)
    if not re.fullmatch(r"[^\s:,]+", name):
        raise ValueError(f"tenant {name!r}: a name without blanks, colons or commas is needed")
    return name
