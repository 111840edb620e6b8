"""What is written as JSON must be read again, wherever it arrives."""

import re

from pydantic_core import from_json

MOST_NESTED = 200  # arrays and objects in one another; what a job adds around its values included
MOST_DIGITS = 4300  # of a whole number, as in Python itself
_STEP = 100
_MANY_DIGITS = re.compile(rb"[0-9]{%d}" % (MOST_DIGITS // _STEP))


def check_readable(json: bytes) -> bytes:
    """Refuse JSON that no reader would take.

    Raises:
        ValueError: it is nested too deeply, or a number in it is too long.
    """
    # What is deep has that many of these at least, and nearly nothing has. A number that is too
    # long shows in each hundredth byte, as does a text of digits.
    if json.count(b"[") + json.count(b"{") > MOST_NESTED or (
        len(json) > MOST_DIGITS and _MANY_DIGITS.search(json[::_STEP])
    ):
        try:
            from_json(json)
        except ValueError as error:
            raise ValueError(f"no reader takes it: {error}") from None
    return json
