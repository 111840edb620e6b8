"""Whether this process can open a file, which others look at who cannot do without."""

from heori_common import logs
from heori_common.platform import files_left, files_limit

log = logs.get_logger(__name__)


class OwnFiles:
    """Tells when none is left, and when there are some again.

    Who needs one meanwhile does so later, or does without: a look at a process, a new worker, a
    connection.
    """

    def __init__(self) -> None:
        self._are_left = True

    def look(self) -> None:
        """See, and tell what has changed."""
        are_left = files_left()
        if self._are_left and not are_left:
            log.error(
                "no open file is left to this process; figures are missing, and no worker can be "
                "started (ulimit -n)",
                limit=files_limit(),
            )
        elif are_left and not self._are_left:
            log.info("there are files again that can be opened")
        self._are_left = are_left
