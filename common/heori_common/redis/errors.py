"""What a user gets when Redis does not do what was asked of it."""

from heori_common.errors import HeoriError
from heori_common.public import public


@public
class RedisUnavailable(HeoriError, ConnectionError):
    """Redis cannot be reached, or does not answer; the message says at which address."""
