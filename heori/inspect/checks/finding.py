"""What a check has seen."""

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["problem", "warning", "fine", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        check: its name, for scripts.
        says, means: what is so; what it does to jobs.
        mend: a command for a shell; empty where none is needed.
    """

    check: str
    level: Level
    says: str
    means: str = ""
    mend: str = ""

    def record(self) -> dict[str, str]:
        """For scripts."""
        return asdict(self)
