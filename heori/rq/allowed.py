"""HEORI_ALLOW for jobs that rq's own code runs: it would call whatever a job names."""

from collections.abc import Collection

import msgpack

from heori_common import resolution
from heori_common.protocol.job import Claim
from heori_common.protocol.payload import OwnSerializer, decode_call
from heori_common.protocol.records import JobFields
from heori_common.protocol.unpickling import Pickles
from heori_common.settings import MOST


class AllowList:
    """What may be called, and be in a pickle.

    Args:
        prefixes: each ending at a dot.
        own: an application's own serializer, which reads all payloads; it is trusted.
    """

    def __init__(self, prefixes: Collection[str], own: OwnSerializer | None) -> None:
        self._prefixes = prefixes
        self._own = own
        self.pickles = Pickles(prefixes)

    def lets_in(self, claim: Claim) -> bool:
        """Whether a job calls what may be called; reading it runs nothing else."""
        try:
            fields = JobFields(*msgpack.unpackb(claim.fields, raw=True))
            data = fields.data or b""
            call = decode_call(data, ("json", "pickle"), MOST, self.pickles, self._own)
            if call.instance:
                resolution.resolve_method(call.instance, call.function, self._prefixes)
            else:
                resolution.resolve(call.function, self._prefixes)
            for name in (
                fields.success_callback_name,
                fields.failure_callback_name,
                fields.stopped_callback_name,
            ):
                if name:
                    resolution.check_allowed(name.decode(), self._prefixes)
        except Exception:  # Heori, to whom it is left then, says what is wrong with it
            return False
        return True
