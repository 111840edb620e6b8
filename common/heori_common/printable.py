"""Text from elsewhere, made fit to be shown."""

LINES = "\n\t"  # what text of several lines keeps


def printable(text: str, *, kept: str = "") -> str:
    """Text with its control characters escaped, so that no terminal obeys them.

    Args:
        kept: those that may stay, such as LINES.
    """
    if text.isprintable():  # nearly all
        return text
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)
