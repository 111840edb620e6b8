"""An id of this process that, other than its pid, no other process ever has."""

import os
import secrets

_id = secrets.token_hex(8)


def _begin_anew() -> None:
    global _id
    _id = secrets.token_hex(8)


os.register_at_fork(after_in_child=_begin_anew)


def process_id() -> str:
    """Of this process; of a fork, another."""
    return _id
