"""What options of a worker name, found as rq finds it."""

from functools import cache
from typing import Any, cast

from heori_common.errors import short, summary
from heori_common.protocol.payload import OwnSerializer


class NotThere(ImportError):
    """Something that an option names and that cannot be imported; the message says which.

    Attributes:
        details: none.
    """

    details = ""


def named(option: str, name: str) -> Any:
    """What has that name; imports rq.

    Raises:
        NotThere: nothing has.
    """
    from rq.utils import import_attribute  # noqa: PLC0415 - who names something for rq needs it

    try:
        return import_attribute(name)
    except Exception as error:  # its module may raise anything
        raise NotThere(f"{option} {short(name)}: {summary(error)}") from error


@cache
def named_serializer(name: str) -> OwnSerializer:
    """An application's own serializer.

    Raises:
        NotThere: nothing has that name, or it does not read and write.
    """
    found = named("--serializer", name)
    if not (callable(getattr(found, "dumps", None)) and callable(getattr(found, "loads", None))):
        raise NotThere(f"--serializer {short(name)}: it has no functions dumps and loads")
    return cast("OwnSerializer", found)
