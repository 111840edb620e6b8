"""RQ's two encodings: the call in a job's ``data`` field, and the outcome in its result stream.

Formats: ``rq/job.py`` (`Job.data`: zlib over the serialized tuple of function, instance, args,
kwargs) and ``rq/results.py`` (`Result.serialize`: base64, tracebacks also zlib), rq 3.0.0.
"""

import contextlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from pydantic_core import PydanticSerializationError, from_json, to_json

from heori_common.errors import HeoriError, PerhapsElsewhere, cut, summary
from heori_common.importing import import_apart
from heori_common.protocol.unpickling import Pickles, Unpicklable
from heori_common.public import public
from heori_common.readable import check_readable

Serializer = Literal["json", "pickle", "own"]  # the last is an application's


# zlib cannot do better: "zlib Technical Details", Maximum Compression Factor.
_LARGEST_RATIO = 1032
# A payload that is not longer is written as it stands, which RQ and all that is built on it read,
# too: it would be no more than a tenth shorter, and to deflate it takes longer than all else.
_SMALL_BYTES = 200
# Of a failure that is read; a worker keeps less. Others may write what inflates to a thousand times
# its size.
MOST_FAILURE_BYTES = 500_000
_VALUES_ONLY = Pickles(())
_PROTO, _MARK, _STOP = b"\x80", b"(", b"."  # opcodes of pickles
_WALK = "heori_common.protocol.pickle_walk"  # by name, as pickle: most programs read none
_SEQUENCES = (list, tuple)


@public
class BadPayload(PerhapsElsewhere, HeoriError, ValueError):
    """A payload that cannot be read, or must not be."""


@public
class PayloadTooLarge(HeoriError, ValueError):
    """The encoded call is larger than consumers or the server accept."""


class OwnSerializer(Protocol):
    """An application's own, as rq takes one: a class, an object or a module."""

    def dumps(self, value: Any, /) -> bytes:
        """Write a value."""

    def loads(self, raw: bytes, /) -> Any:
        """Read one."""


class Call(NamedTuple):
    """What a job is to call, and how it was written down."""

    function: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    serializer: Serializer = "json"
    types: bytes | None = None  # of the arguments, where JSON does not say all
    instance: Any = None  # whose method the function is; rq sends it along


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
        check_readable(raw)
    except (PydanticSerializationError, ValueError) as error:
        raise BadPayload(
            f"{call.function}: {_where(call)} no JSON form: {cut(str(error), 300)}"
        ) from error
    size = len(raw) + len(call.types or b"")
    if limit is not None and size > limit:
        raise _too_large(call, f"{size} bytes", limit)
    return raw if len(raw) <= _SMALL_BYTES else _deflate(raw)


def _where(call: Call) -> str:
    """Which argument of a call is at fault, as the beginning of a sentence."""
    for name, value in (*enumerate(call.args, 1), *call.kwargs.items()):
        try:
            to_json(value)
        except (PydanticSerializationError, ValueError):
            return f"argument {cut(str(name))} has"
    return "the arguments have"


_SIZED = {str, bytes, list, tuple, dict}


def _least_bytes(call: Call) -> int:
    """Bytes that it has at least, in no time: one for each character and each item."""
    least = 0
    for value in (*call.args, *call.kwargs.values()):
        if type(value) in _SIZED:
            least += len(value)
    return least


def _too_large(call: Call, size: str, limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the arguments of {call.function} take {size}, over the limit of {limit} "
        "(HEORI_MAX_PAYLOAD); store them and send where"
    )


def decode_call(
    data: bytes,
    accept: Collection[str],
    limit: int,
    pickles: Pickles = _VALUES_ONLY,
    own: OwnSerializer | None = None,
) -> Call:
    """Read the ``data`` field of a job.

    Args:
        accept: serializers that may be read.
        limit: bytes that the payload may have when inflated.
        pickles: how pickles are read, if they may be; else plain values are all that may be in one.
        own: what reads all payloads in the place of both.

    Raises:
        BadPayload: it is too large, not in an accepted serializer, or no call.
        BaseException: whatever an unrestricted pickle raises, or `own`.
    """
    raw = data
    if data[:1] != b"[":  # JSON, and no beginning of what was deflated
        with contextlib.suppress(zlib.error):  # RQ reads an uncompressed payload, too
            raw = _inflate(data, limit)
    if len(raw) > limit:
        raise BadPayload(
            f"its payload inflates to more than the limit of {limit} bytes (HEORI_MAX_PAYLOAD)"
        )
    serializer: Serializer = "own" if own is not None else _serializer_of(raw)
    if own is None and serializer not in accept:
        raise _not_accepted(raw, serializer, accept)
    try:
        if own is not None:
            decoded = own.loads(raw)
        else:
            decoded = pickles.loads(raw) if serializer == "pickle" else from_json(raw)
    except Unpicklable as error:
        raise BadPayload(
            f"its payload is a pickle that {error.reason}",
            elsewhere=error.elsewhere,
            mend=error.mend,
        ) from error.__cause__
    except Exception as error:  # unpickling may raise anything
        missing = isinstance(error, ImportError | AttributeError)  # the class of an argument
        if own is not None:
            raise _not_own(raw, summary(error), elsewhere=missing) from error
        raise BadPayload(
            f"its payload is no {serializer}: {summary(error)}", elsewhere=missing
        ) from error
    # Not by `match`, which takes three times as long.
    if isinstance(decoded, _SEQUENCES) and len(decoded) == 4:
        function, instance, args, kwargs = decoded
        if (
            isinstance(function, str)
            and isinstance(args, _SEQUENCES)
            and isinstance(kwargs, dict)
            and (serializer == "json" or all(isinstance(name, str) for name in kwargs))
        ):
            return Call(function, args, kwargs, serializer, None, instance)
    raise BadPayload("its payload is not a call: [function, null, [arguments], {keywords}]")


def _serializer_of(raw: bytes) -> Serializer:
    """Which of the two it is: a pickle of a tuple begins with its protocol, or with a mark."""
    is_pickle = raw[:1] == _PROTO or (raw[:1] == _MARK and raw[-1:] == _STOP)
    return "pickle" if is_pickle else "json"


def _not_accepted(raw: bytes, serializer: Serializer, accept: Collection[str]) -> BadPayload:
    """Only a whole call speaks for a setting: damaged bytes speak for none."""
    try:
        is_call = _is_call(raw, serializer)
    except Exception as error:
        return BadPayload(f"its payload is no {serializer}: {summary(error)}")
    named = ",".join([*accept, serializer])
    return BadPayload(
        f"its payload is {serializer}, and this consumer accepts {', '.join(accept)} only",
        mend=f"set HEORI_ACCEPT={named}" if is_call else "",
    )


def _not_own(raw: bytes, why: str, *, elsewhere: bool = False) -> BadPayload:
    """What `own` cannot read; it may be whole in one of the others."""
    serializer = _serializer_of(raw)
    mend = ""
    with contextlib.suppress(Exception):
        if _is_call(raw, serializer):
            mend = f"start this consumer with --serializer {serializer}"
    return BadPayload(
        f"its payload is no payload of --serializer: {why}", elsewhere=elsewhere, mend=mend
    )


def _is_call(raw: bytes, serializer: Serializer) -> bool:
    """Whether it looks like one, of which nothing is loaded.

    Raises:
        Exception: it is not whole.
    """
    found = from_json(raw) if serializer == "json" else import_apart(_WALK).Walk(raw).result
    return isinstance(found, list) and len(found) == 4 and isinstance(found[0], str)


def _deflate(raw: bytes) -> bytes:
    """What ``zlib.decompress`` reads, with a window no larger than what there is to compress.

    ``zlib.compress`` takes a quarter of a megabyte, which many a heap gets from the system and
    gives back each time: up to thirty times the work of compressing a small call.
    """
    window = min(15, max(9, len(raw).bit_length()))
    deflate = zlib.compressobj(wbits=window, memLevel=window - 7)
    return deflate.compress(raw) + deflate.flush()


def _inflate(data: bytes, limit: int) -> bytes:
    """The inverse of `_deflate`; of what has more bytes than the limit, one more than that.

    Raises:
        zlib.error: it was never deflated.
    """
    if len(data) * _LARGEST_RATIO <= limit:
        return zlib.decompress(data)  # four times faster than the general way
    return zlib.decompressobj().decompress(data, limit + 1)


def encode_result(
    value_json: bytes, serializer: Serializer, own: OwnSerializer | None = None
) -> bytes:
    """The ``return_value`` field of a result, in the serializer that the job came in."""
    if own is not None:
        return b64encode(own.dumps(from_json(value_json)))
    if serializer == "json":
        return b64encode(value_json)
    return b64encode(import_apart("pickle").dumps(from_json(value_json)))


def decode_result(field: bytes) -> bytes:
    """The ``return_value`` field of a result, as JSON.

    Raises:
        BadPayload: it is a pickle, which is never loaded here, nested too deeply, or damaged.
    """
    try:
        raw = b64decode(field, validate=True)
        from_json(raw)
    except ValueError as error:
        raise BadPayload(
            f"the result is no JSON that can be read here: {error}; read it with rq and its "
            "serializer"
        ) from error
    return raw


def encode_failure(text: str) -> bytes:
    """The ``exc_string`` field of a result."""
    return b64encode(_deflate(text.encode("utf-8", "backslashreplace")))


def decode_failure(field: bytes) -> str:
    """The traceback in the ``exc_string`` field of a result; a damaged one as it stands.

    Of one that is longer than MOST_FAILURE_BYTES it is the beginning, and says so.
    """
    try:
        # What does not shrink is written with a third more, and some.
        raw = _inflate(b64decode(field[: 2 * MOST_FAILURE_BYTES]), MOST_FAILURE_BYTES)
    except (ValueError, zlib.error):
        raw = field
    text = raw[:MOST_FAILURE_BYTES].decode("utf-8", "backslashreplace")
    if len(raw) <= MOST_FAILURE_BYTES:
        return text
    return (
        f"{text}\n... the rest is left out, as it is longer than {MOST_FAILURE_BYTES:,} bytes ..."
    )
