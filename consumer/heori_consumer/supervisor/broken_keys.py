"""Keys of the wrong type: whoever made them, one line says so, and one that they are mended."""

from heori_common import logs

log = logs.get_logger(__name__)


class BrokenKeys:
    """What the roles of a consumer have found, so that each key is told once and by one."""

    def __init__(self) -> None:
        self._found: dict[str, frozenset[str]] = {}

    def see(self, role: str, keys: frozenset[str]) -> None:
        """Note all keys that a role finds broken now."""
        before = self._all()
        self._found[role] = keys
        now = self._all()
        for key in sorted(now - before):
            log.error(
                "a key has the wrong type and is passed over until it is mended",
                key=key,
                look=f"redis-cli TYPE {key}",
            )
        for key in sorted(before - now):
            log.info("a key is mended", key=key)

    def _all(self) -> frozenset[str]:
        return frozenset().union(*self._found.values())
