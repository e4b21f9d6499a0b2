"""One process at a time in a folder: the second waits, and says for whom."""

import contextlib
import os
import platform
import time

try:
    import fcntl
except ImportError:  # Windows itself: there nobody waits
    fcntl = None


@contextlib.contextmanager
def alone(folder, name, work):
    """Do something in a folder that no two processes may do there at once; wait, with one printed line, until the other has finished.

    The system holds the lock for the process, so that it is free when its holder has ended in whatever way. The file of the lock stays:
    to remove it would let a third process lock another file of the same name.

    Args:
        folder: made if needed.
        name: of the work; others of the same name in the same folder wait.
        work: in words, such as "run in runs/full", for the one who waits.

    Yields:
        The open file: a child process that inherits it holds the lock too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("a+", encoding="utf-8", errors="replace") as file:
        _lock(file, work)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        try:
            yield file
        finally:
            file.truncate(0)


def _lock(file, work):
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        print(f"Waiting to {work}: {file.read() or 'another process'} is at it ...", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
