"""Heori's command with few open files: ``OPEN_FILES=200 python -m tests.rigs.few_files serve``."""

import os
import resource

from heori.__main__ import main

if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(os.environ["OPEN_FILES"]), hard))
    main()
