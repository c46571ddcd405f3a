"""What Linux and its C library know of this machine, and can be told about memory; elsewhere nothing is told."""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

# glibc's mallopt: no separate mapping for large blocks, one arena, and freed memory kept up to this size.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_KEPT_BYTES = 512 * 1024 * 1024


@cache
def processor_words() -> frozenset[str]:
    """Return the words that describe the processor, such as `AuthenticAMD` and `avx2`; none where they are not told."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return frozenset()


def n_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reuse_large_blocks() -> None:
    """Let malloc reuse the memory of attention matrices, which would else be mapped and cleared anew for each layer.

    That took nearly half the time of a 30 s window. It holds for the whole process, and does nothing without glibc.
    """
    for parameter, value in ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1)):
        _call("mallopt", parameter, value)


def give_back_memory() -> None:
    """Return what malloc keeps of freed memory to the system: after loading, hundreds of megabytes."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if function:
        function(*arguments)
