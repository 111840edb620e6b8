"""A module that does at its import what a task module should not; HEORI_TEST_IMPORT says what."""

import ctypes
import os
import signal
import sys
import threading

match os.environ.get("HEORI_TEST_IMPORT"):
    case "hang":
        print("importing", file=sys.stderr, flush=True)
        ctypes.PyDLL(None).sleep(3600)  # in C, with the GIL
    case "os._exit":
        os._exit(3)
    case "sys.exit":
        sys.exit(3)
    case "abort":
        os.abort()
    case "thread and handler":
        threading.Thread(target=threading.Event().wait).start()
        signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
