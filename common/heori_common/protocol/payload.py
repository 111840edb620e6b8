"""RQ's two encodings: the call in a job's ``data`` field, and the outcome in its result stream.

Formats: ``rq/job.py`` (`Job.data`: zlib over the serialized tuple of function, instance, args,
kwargs) and ``rq/results.py`` (`Result.serialize`: base64, tracebacks also zlib), rq 3.0.0.
"""

import json
import pickle
import zlib
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import PydanticSerializationError, from_json, to_json

from heori_common.errors import HeoriError, PerhapsElsewhere
from heori_common.public import public

Serializer = Literal["json", "pickle"]


# zlib cannot do better: "zlib Technical Details", Maximum Compression Factor.
_LARGEST_RATIO = 1032


@public
class BadPayload(PerhapsElsewhere, HeoriError, ValueError):
    """A payload that cannot be read, or must not be."""


@public
class PayloadTooLarge(HeoriError, ValueError):
    """The encoded call is larger than consumers or the server accept."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a job is to call, and how it was written down."""

    function: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    serializer: Serializer = "json"
    types: bytes | None = None  # of the arguments, where JSON does not say all


def encode_call(call: Call, limit: int | None = None) -> bytes:
    """The ``data`` field of a job.

    Args:
        limit: bytes that it, and the types, may have when inflated; None for any number.

    Raises:
        BadPayload: an argument has no JSON form.
        PayloadTooLarge: it is over the limit.
    """
    # What is far too large is refused before it is written down, and all else before it is
    # compressed: that takes a second for each 200 MB, and as much memory again.
    if limit is not None and (least := _least_bytes(call)) > limit:
        raise _too_large(call, f"{least} bytes at least", limit)
    try:
        raw = to_json((call.function, None, call.args, call.kwargs), round_trip=True)
    except (PydanticSerializationError, ValueError) as error:
        raise BadPayload(f"{call.function}: {_where(call)} no JSON form: {error}") from error
    size = len(raw) + len(call.types or b"")
    if limit is not None and size > limit:
        raise _too_large(call, f"{size} bytes", limit)
    return _deflate(raw)


def _where(call: Call) -> str:
    """Which argument of a call is at fault, as the beginning of a sentence."""
    for name, value in (*enumerate(call.args, 1), *call.kwargs.items()):
        try:
            to_json(value)
        except (PydanticSerializationError, ValueError):
            return f"argument {name} has"
    return "the arguments have"


_SIZED = {str, bytes, list, tuple, dict}


def _least_bytes(call: Call) -> int:
    """Bytes that it has at least, in no time: one for each character and each item."""
    values = (*call.args, *call.kwargs.values())
    return sum(len(value) for value in values if type(value) in _SIZED)


def _too_large(call: Call, size: str, limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the arguments of {call.function} take {size}, over the limit of {limit} "
        "(HEORI_MAX_PAYLOAD); store them and send where"
    )


def decode_call(data: bytes, accept: Collection[str], limit: int) -> Call:
    """Read the ``data`` field of a job.

    Args:
        accept: serializers that may be read. Unpickling runs code of the sender's choice.
        limit: bytes that the payload may have when inflated.

    Raises:
        BadPayload: it is too large, not in an accepted serializer, or no call.
    """
    raw = _inflate(data, limit)
    serializer: Serializer = "pickle" if raw[:1] == b"\x80" else "json"
    if serializer not in accept:
        raise BadPayload(
            f"its payload is {serializer}, and this consumer accepts {', '.join(accept)} only; "
            f"enqueue it with the JSON serializer, or set HEORI_ACCEPT=json,{serializer} if you "
            "trust all who can write to this Redis"
        )
    try:
        decoded = pickle.loads(raw) if serializer == "pickle" else from_json(raw)
    except (ImportError, AttributeError) as error:
        # The class of an argument is missing.
        raise BadPayload(f"its payload is no pickle: {error!r}", elsewhere=True) from error
    except Exception as error:  # unpickling may raise anything
        raise BadPayload(
            f"its payload is no {serializer}: {type(error).__name__}: {error}"
        ) from error
    match decoded:
        case [str(function), None, list() | tuple() as args, dict() as kwargs] if all(
            isinstance(name, str) for name in kwargs
        ):
            return Call(function, args, kwargs, serializer)
        case [str(), None, *_] | [_, None, _, _]:
            raise BadPayload("its payload is not a call: [function, null, [arguments], {keywords}]")
        case [_, _, _, _]:
            raise BadPayload("it calls a method of an instance, and only functions are run")
    raise BadPayload("its payload is not a call: [function, null, [arguments], {keywords}]")


def _deflate(raw: bytes) -> bytes:
    """What ``zlib.decompress`` reads, with a window no larger than what there is to compress.

    ``zlib.compress`` takes a quarter of a megabyte, which many a heap gets from the system and
    gives back each time: up to thirty times the work of compressing a small call.
    """
    window = min(15, max(9, len(raw).bit_length()))
    deflate = zlib.compressobj(wbits=window, memLevel=window - 7)
    return deflate.compress(raw) + deflate.flush()


def _inflate(data: bytes, limit: int) -> bytes:
    try:
        if len(data) * _LARGEST_RATIO <= limit:
            raw = zlib.decompress(data)  # four times faster than the general way
        else:
            raw = zlib.decompressobj().decompress(data, limit + 1)
    except zlib.error:
        raw = data  # RQ reads an uncompressed payload, too
    if len(raw) > limit:
        raise BadPayload(
            f"its payload inflates to more than the limit of {limit} bytes (HEORI_MAX_PAYLOAD)"
        )
    return raw


def encode_result(value_json: bytes, serializer: Serializer) -> bytes:
    """The ``return_value`` field of a result, in the serializer that the job came in."""
    return b64encode(value_json if serializer == "json" else pickle.dumps(from_json(value_json)))


def decode_result(field: bytes) -> bytes:
    """The ``return_value`` field of a result, as JSON.

    Raises:
        BadPayload: it is a pickle, which is never loaded here, or damaged.
    """
    try:
        raw = b64decode(field, validate=True)
        json.loads(raw)
    except ValueError as error:
        raise BadPayload("the result is no JSON; read it with rq and its serializer") from error
    return raw


def encode_failure(text: str) -> bytes:
    """The ``exc_string`` field of a result."""
    return b64encode(_deflate(text.encode("utf-8", "backslashreplace")))


def decode_failure(field: bytes) -> str:
    """The traceback in the ``exc_string`` field of a result; a damaged one as it stands."""
    try:
        return zlib.decompress(b64decode(field)).decode()
    except (ValueError, zlib.error):
        return field.decode("utf-8", "backslashreplace")
