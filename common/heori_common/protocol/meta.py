"""What travels with a job beside its arguments: RQ's own field ``meta``, a dict by name."""

import json
from collections.abc import Mapping
from typing import Any

from heori_common.errors import cut, short, summary
from heori_common.protocol.job import MalformedJob
from heori_common.protocol.payload import OwnSerializer, PayloadTooLarge, Serializer
from heori_common.protocol.unpickling import Pickles

LARGEST_META_BYTES = 16_384  # as JSON: each claim and each look at the job reads it


def encode_meta(
    meta: object, serializer: Serializer = "json", own: OwnSerializer | None = None
) -> bytes:
    """The field, as rq writes it with the serializer of its job.

    Args:
        own: writes it where the serializer is "own".

    Raises:
        TypeError: it is no dict whose keys are texts.
        ValueError: a value has no JSON form.
        PayloadTooLarge: it is over LARGEST_META_BYTES.
    """
    if not (isinstance(meta, Mapping) and {*map(type, meta)} <= {str}):
        raise TypeError(f"meta={short(meta)}: a dict is needed whose keys are texts")
    try:
        field = json.dumps(dict(meta), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"meta={short(meta)} has no JSON form: {cut(str(error))}") from error
    if len(field) > LARGEST_META_BYTES:
        raise PayloadTooLarge(
            f"meta takes {len(field)} bytes, over the limit of {LARGEST_META_BYTES}; store what is "
            "large, and have meta say where"
        )
    if serializer == "own" and own is not None:
        return bytes(own.dumps(dict(meta)))
    return Pickles.dumps(dict(meta)) if serializer == "pickle" else field


def decode_meta(
    field: bytes | None,
    serializer: Serializer = "json",
    pickles: Pickles | None = None,
    own: OwnSerializer | None = None,
) -> dict[str, Any]:
    """The inverse of `encode_meta`; it is in the serializer of its job. Empty when there is none.

    Args:
        pickles: how pickles are read; else plain values are all that may be in one.
        own: reads it where the serializer is "own".

    Raises:
        MalformedJob: it has no meaning, or cannot be read here.
    """
    if not field:
        return {}
    try:
        if serializer == "own" and own is not None:
            meta = own.loads(field)
        elif serializer == "pickle":
            meta = (pickles or Pickles(())).loads(field)
        else:
            meta = json.loads(field)
    except Exception as error:  # unpickling may raise anything
        raise MalformedJob(
            f"its meta {field[:40]!r} is no {serializer}: {summary(error)}"
        ) from error
    if not isinstance(meta, dict):
        raise MalformedJob(f"its meta {field[:40]!r} is no dict")
    return meta


def shown_meta(field: bytes | None) -> dict[str, Any]:
    """The same for people, as values of JSON, whatever its serializer; empty if it has no meaning.

    To read it runs nothing.
    """
    try:
        meta = decode_meta(field, "json" if (field or b"{")[:1] == b"{" else "pickle")
        shown: dict[str, Any] = json.loads(json.dumps(meta, default=repr))
    except (MalformedJob, TypeError, ValueError, RecursionError):
        return {}
    return shown


def has_meta(field: bytes | None, wanted: Mapping[str, str]) -> bool:
    """Whether it has all these values, which are written as text or as JSON."""
    meta = shown_meta(field)
    return all(
        name in meta and value in (meta[name], json.dumps(meta[name]))
        for name, value in wanted.items()
    )
