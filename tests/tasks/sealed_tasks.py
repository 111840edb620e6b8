"""Imported, it keeps other processes from looking at this one, as hardened systems do."""

import ctypes

PR_SET_DUMPABLE = 4  # <sys/prctl.h>
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
