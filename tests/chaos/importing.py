"""The tasks of the scenarios, whose import is under way for as long as anybody waits."""

import os
import time
from pathlib import Path

Path(os.environ["CHAOS_IMPORTING"]).touch()
time.sleep(3600)
