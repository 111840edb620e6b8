"""What a measurement on a virtual machine has to know: how much of the machine others had."""

import psutil


class Steal:
    """What other guests of a virtual machine take, from when this was made on."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def share(self) -> float:
        """Of the time of all cores; 0 where the system does not tell (psutil, ``steal``)."""
        now = psutil.cpu_times()
        spent = sum(now) - sum(self._before)
        stolen = getattr(now, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        return stolen / spent if spent > 0 else 0.0
