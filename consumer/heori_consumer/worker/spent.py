"""Errors which say that a process has no file or thread left; another one has them all."""

import errno
import threading

# How far the causes of an error are followed.
MOST_CAUSES = 20
# With fewer threads that tasks have left here, it is others who have taken all that there are.
MANY_THREADS = 100

_NO_THREAD = "can't start new thread"  # of `threading`, which has no error of its own for it


def what_is_spent(error: BaseException, own_threads: int) -> str | None:
    """What this process has run out of, if the error or one of its causes says so.

    Args:
        own_threads: how many threads it needs itself.
    """
    try:
        following: BaseException | None = error
        for _ in range(MOST_CAUSES):
            if following is None:
                break
            # The limit of a process. That of the system, ENFILE, holds for every other one, too.
            if isinstance(following, OSError) and following.errno == errno.EMFILE:
                return "no files left"
            if isinstance(following, RuntimeError) and str(following) == _NO_THREAD:
                left = threading.active_count() - own_threads
                return "no threads left" if left >= MANY_THREADS else None
            following = following.__cause__ or following.__context__
    except BaseException:  # a task's error may raise at every question
        return None
    return None
