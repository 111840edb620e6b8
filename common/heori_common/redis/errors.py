"""What a user gets when Redis does not do what was asked of it, whatever library has noticed."""

from heori_common.errors import HeoriError
from heori_common.public import public
from heori_common.redis.address import Address

# What a server says that cannot serve anybody for now: it is still starting, or full of clients.
_AWAY = ("LOADING", "ERR max number of clients reached")
# What it says, before it hangs up, to a word that is longer than its proto-max-bulk-len.
_TOO_LARGE = "Protocol error: invalid bulk length"
# What it says that does not tell a person what is wrong, and what does.
_IN_PLAIN_WORDS = {
    _TOO_LARGE: f"{_TOO_LARGE}: this is more than it takes in one piece, its proto-max-bulk-len",
    "NOAUTH": "NOAUTH it wants a password, and was given none",
    "WRONGPASS": "WRONGPASS it does not know this user with this password",
    "CROSSSLOT": "CROSSSLOT it is a Redis Cluster, whose scripts take keys of one slot only: set "
    "RQ_KEY_PREFIX={rq} for all producers and consumers, which keeps their keys together",
    "MOVED": "MOVED it is a Redis Cluster, and the keys are on another node: HEORI_REDIS_URL must "
    "name the one that has the slot of RQ_KEY_PREFIX, as CLUSTER SHARDS tells",
    "DB index is out of range": "it has no database of the number that the URL names",
    "OOM": "OOM its memory is full, and nothing new is taken until jobs have run or results have "
    "expired: start consumers, purge dead letters, or raise its maxmemory",
    "READONLY": "READONLY it is a replica, which takes no writes",
    "MASTERDOWN": "MASTERDOWN it is a replica that has lost its primary",
    "MISCONF": "MISCONF it takes no writes while it cannot store them: its log says why",
    "BUSY ": "BUSY it is executing a script that takes too long",
    "NOREPLICAS": "NOREPLICAS it takes no writes while too few replicas follow it",
}
# What a replica says, or one that has just become one. Its address may lead to the primary by now.
_REPLICA = {"READONLY", "MASTERDOWN", "UNBLOCKED"}
_PASSING = _REPLICA | {"MISCONF", "BUSY", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN"}
_GENERAL = _PASSING | {"OOM", "NOAUTH", "WRONGPASS", "NOPERM"}
# What it says that is not the primary, or one that is cut off from its replicas.
_NO_PRIMARY = ("READONLY", "MASTERDOWN", "UNBLOCKED", "NOREPLICAS")
# How it says NOPERM of a command within a script.
_NOPERM_IN_SCRIPT = "ERR ACL failure in script"


@public
class RedisUnavailable(HeoriError, ConnectionError):
    """Redis cannot be reached, or does not answer; the message says at which address.

    Attributes:
        is_passing, is_general, needs_reconnect: as those of RedisRefused.
    """

    is_passing = True
    is_general = True
    needs_reconnect = True


@public
class RedisRefused(HeoriError):
    """Redis has answered with an error, which the message tells, with the address.

    It wants another login, say, is out of memory, or a key holds something else than Heori keeps
    there. What it refuses for now only, as a replica does, was sent again for some time before.

    Attributes:
        said: by the server.
        code: the first word of that, such as WRONGPASS, NOPERM, OOM, READONLY or WRONGTYPE; ERR
            when the server gives the error no name.
    """

    def __init__(self, said: str, where: Address | None = None) -> None:
        word, _, rest = said.partition(" ")
        self.code = word if word.isalpha() and word.isupper() else "ERR"
        self.said = rest if word == "ERR" else said
        super().__init__(self.said if where is None else f"Redis at {where} refused: {self.said}")

    @property
    def is_login(self) -> bool:
        """Whether it is not the command that is refused, but whoever has sent it."""
        return self.code in ("NOAUTH", "WRONGPASS")

    @property
    def is_passing(self) -> bool:
        """Whether it takes nothing of the kind for now, and may take the very same later."""
        return self.code in _PASSING

    @property
    def is_general(self) -> bool:
        """Whether it is not this command's data that is refused: any other would be, too."""
        return self.code in _GENERAL

    @property
    def needs_reconnect(self) -> bool:
        """Whether the connection is of no use any more: it leads to a replica, or is closed."""
        return self.code in _REPLICA or self.is_size

    @property
    def is_size(self) -> bool:
        """Whether the command is larger than this server takes; it has hung up, too."""
        return self.said.startswith(_TOO_LARGE)


def error_of(said: str, where: Address) -> RedisUnavailable | RedisRefused:
    """The error that a server's answer stands for.

    Args:
        said: all of it, such as "WRONGTYPE Operation against a key holding the wrong kind …".
    """
    if said.startswith(_AWAY):
        return away(where, said)
    if where.sentinels and said.startswith(_NO_PRIMARY):
        return RedisUnavailable(f"Redis at {where} has moved: {said}")
    if said.startswith(_NOPERM_IN_SCRIPT):
        said = "NOPERM " + said.removeprefix("ERR ")
    for beginning, plainly in _IN_PLAIN_WORDS.items():
        if said.removeprefix("ERR ").startswith(beginning):
            said = plainly
    return RedisRefused(said, where)


def away(where: Address, why: object) -> RedisUnavailable:
    """The error that there is nobody to talk to."""
    return RedisUnavailable(f"Redis at {where} is away: {why}")
