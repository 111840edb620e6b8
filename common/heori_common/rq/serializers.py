"""The serializer that rq's Job of a running job has.

Importing this imports rq.
"""

from typing import Any

from rq.serializers import JSONSerializer

from heori_common.protocol.payload import OwnSerializer, Serializer
from heori_common.protocol.unpickling import Pickles


def serializer_of(name: Serializer, pickles: Pickles, own: OwnSerializer | None) -> Any:
    """An object with `dumps` and `loads`.

    Args:
        name: of the one that its call was written with.
        pickles: how this worker reads a pickle.
        own: the application's, if it has one.
    """
    if own is not None:
        return own
    return JSONSerializer if name == "json" else pickles
