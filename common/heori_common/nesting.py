"""How deeply JSON may be nested: pydantic writes what is deeper than it reads."""

from pydantic_core import from_json

MOST_NESTED = 200  # arrays and objects in one another; what a job adds around its values included


def check_nesting(json: bytes) -> bytes:
    """Refuse JSON that no reader would take.

    Raises:
        ValueError: it is nested too deeply.
    """
    # What is deep has that many of these at least, and nearly nothing has.
    if json.count(b"[") + json.count(b"{") > MOST_NESTED:
        try:
            from_json(json)
        except ValueError as error:
            raise ValueError(f"no reader takes it: {error}") from None
    return json
