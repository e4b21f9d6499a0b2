"""How many of the processor's cores this process may use, how many of them one operation shall, and who gives way to whom."""

import os
import time
from pathlib import Path

ALL_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# In training the pipeline gets one half, the operations of a step the other: of two cores one each, so that neither waits for the other.
HALF_THE_CORES = max(1, ALL_CORES // 2)


def pass_niceness_on(process):
    """Make a session as nice as this process is. Linux only; elsewhere, and where it is not allowed, nothing happens.

    Linux shares the cores evenly between sessions, whatever the niceness of their processes (sched(7), "The autogroup feature"), and
    Jupyter gives each kernel a session of its own: without this, `nice dae-keras run` would give way to nothing.

    Args:
        process: number of any process of that session.
    """
    for _ in range(10):
        try:
            Path(f"/proc/{process}/autogroup").write_text(str(os.nice(0)), encoding="utf-8")
            return
        except BlockingIOError:  # all users but root together may say so once in a tenth of a second
            time.sleep(0.11)
        except (AttributeError, OSError):  # no niceness on Windows; no such file without autogroups
            return
