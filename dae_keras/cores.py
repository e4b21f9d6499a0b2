"""How many of the processor's cores this process may use, and how many of them one operation shall."""

import os

ALL_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# In training the pipeline gets one half, the operations of a step the other: of two cores one each, so that neither waits for the other.
HALF_THE_CORES = max(1, ALL_CORES // 2)
