"""What a call that is ended from outside leaves behind in its process."""

import subprocess
import sys

# Whether what is to be raised comes in time, or is taken back as the call has ended by itself.
PROGRAM = """
import sys, threading
from heori_common.current_job import JobTimeout
from heori_consumer.worker.interrupt import ThreadCalls

def use(in_time):
    calls = ThreadCalls()
    has_begun = threading.Lock()
    has_begun.acquire()

    def interrupt():
        with has_begun:
            calls.interrupt_if_late(1e12)

    def late():
        if in_time:
            has_begun.release()  # in C, where nothing strikes
            while True:
                pass
        calls.interrupt_if_late(1e12)
        raise KeyError

    if in_time:
        threading.Thread(target=interrupt).start()

    try:
        calls.call(1, 0.0, late)
    except (JobTimeout, KeyError) as error:
        ended.append(type(error))

def function():
    return "traced"

ended = []
for in_time in (True, False) * 20:
    thread = threading.Thread(target=use, args=[in_time])
    thread.start()
    thread.join()
    sys.settrace(lambda *_: None)
    function()
    sys.settrace(None)
assert len(ended) == 40 and ended[::2] == [JobTimeout] * 20, ended
print("done")
"""


def test_a_program_that_is_traced_goes_on_after_a_call_of_a_thread_was_ended() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
