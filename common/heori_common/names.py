"""Names that people give: of queues, tenants, keys and locks, and what they may look like."""

import re
import unicodedata

from heori_common.errors import short

MAX_NAME_CHARS = 512  # they are parts of keys

# What nobody sees in a name, and what a terminal or a log obeys: controls, formats (zero width, or
# against the direction of writing), lone surrogates, and what separates lines and paragraphs.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def check_name(what: str, name: object) -> str:
    """Refuse a name that is empty or too long, or that nobody could read or type.

    Args:
        what: it is the name of.

    Raises:
        TypeError: it is no text.
        ValueError: it has no or too many characters, or one that cannot be seen.
    """
    name = _text(what, name)
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise ValueError(
            f"{what} {short(name)}: the name must be a string of 1 to {MAX_NAME_CHARS} "
            f"characters; it has {len(name)}"
        )
    return check_seen(what, name)


def check_seen(what: str, text: str) -> str:
    """Refuse a text with a character that cannot be seen; it may have any length.

    Args:
        what: it is.

    Raises:
        ValueError: it has one.
    """
    if (character := unseen(text)) is not None:
        # What os.listdir gives for bytes that are no UTF-8.
        instead = "; os.fsencode(name).hex() works" if "\udc80" <= character <= "\udcff" else ""
        raise ValueError(
            f"{what} {short(text)}: the name has {character!a} in it, and must be made of "
            f"characters that can be seen{instead}"
        )
    return text


def unseen(text: str) -> str | None:
    """The first character of a text that cannot be seen, if it has one."""
    if text.isprintable():  # nearly all
        return None
    return next((each for each in text if unicodedata.category(each) in _UNSEEN), None)


def check_queue(name: object) -> str:
    """Refuse a queue name that would make other keys, or that nobody could type.

    Raises:
        TypeError: it is no text.
        ValueError: as `check_name`, or it has commas or @@ in it, or ends in @ or as the name of a
            key of RQ's does.
    """
    name = _text("queue", name)
    if "," in name:  # consumers' records list their queues with commas between, as RQ's do
        raise ValueError(f"queue {short(name)}: a name without commas is needed")
    if "@@" in name or name.endswith("@"):
        raise ValueError(
            f"queue {short(name)}: a name without @@, and no @ at its end, is needed; a tenant is "
            "named apart from its queue"
        )
    if name.endswith(":intermediate"):
        raise ValueError(f"queue {short(name)}: RQ has a key of that name for another queue")
    return check_name("queue", name)


def check_tenant(name: object) -> str:
    """Refuse a tenant's name that would make other keys, or that nobody could type.

    Raises:
        TypeError: it is no text.
        ValueError: as `check_name`, or it has colons, commas or blanks in it.
    """
    name = _text("tenant", name)
    if not re.fullmatch(r"[^\s:,]+", name):
        raise ValueError(f"tenant {short(name)}: a name without blanks, colons or commas is needed")
    return check_name("tenant", name)


def _text(what: str, name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{what} {short(name)}: the name must be a string")
    return name
