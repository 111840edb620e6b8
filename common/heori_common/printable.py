"""Text from elsewhere, made fit to be shown."""

LINES = "\n\t"  # what text of several lines keeps


def printable(text: str, *, kept: str = "") -> str:
    r"""Text with its control characters escaped, so that no terminal obeys them.

    So are bytes that were no UTF-8, which Python has as lone surrogates: \xff.

    Args:
        kept: those that may stay, such as LINES.
    """
    if text.isprintable():  # nearly all
        return text
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]
