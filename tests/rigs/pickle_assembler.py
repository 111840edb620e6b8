"""Writes pickles that no pickler would: a small assembler for ``Lib/pickletools.py``."""

import struct

SHOP = "tests.tasks.shop"
ONE = b"K\x01"
NONE = b"N"


def text(value: str) -> bytes:
    """Push a text."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(module: str, name: str) -> bytes:
    """Push what has that name, as protocol 4 does."""
    return text(module) + text(name) + b"\x93"


def old(module: str, name: str) -> bytes:
    """The same as the protocols before do."""
    return f"c{module}\n{name}\n".encode()


def call(what: bytes, *args: bytes) -> bytes:
    """Call what is pushed."""
    return what + b"(" + b"".join(args) + b"tR"


def new(what: bytes, *args: bytes) -> bytes:
    """The same with its ``__new__``."""
    return what + b"(" + b"".join(args) + b"t\x81"


def attributes(**values: bytes) -> bytes:
    """Push a dict."""
    return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


def whole(program: bytes, protocol: int = 4) -> bytes:
    """As a pickle."""
    return b"\x80" + bytes([protocol]) + program + b"."


def in_shop(name: str) -> bytes:
    """Push what the application has."""
    return named(SHOP, name)
