"""Names of queues and tenants, and what they may look like."""

import re


def check_queue(name: str) -> str:
    """Refuse a queue name that would make other keys, or that nobody could type.

    Raises:
        ValueError: it is empty, or has colons, commas, blanks or an @ in it.
    """
    if not re.fullmatch(r"[^\s:,@]+", name):
        raise ValueError(
            f"queue {name!r}: a name without blanks, colons, commas or @ is needed"
            + ("; a tenant is named apart from its queue" if "@" in name else "")
        )
    return name


def check_tenant(name: str) -> str:
    """Refuse a tenant's name that would make other keys, or that nobody could type.

    Raises:
        ValueError: it is empty, or has colons, commas or blanks in it.
    """
    if not re.fullmatch(r"[^\s:,]+", name):
        raise ValueError(f"tenant {name!r}: a name without blanks, colons or commas is needed")
    return name
