"""What Linux and its C library know of this machine, and can be told about memory; elsewhere nothing is told."""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

# glibc's mallopt: no separate mapping for large blocks, one arena, and freed memory kept up to this size.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_KEPT_BYTES = 512 * 1024 * 1024
# Where a container's limit is, and what of it is taken: of control groups 2 and 1.
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
_OF_FILES = ("active_file ", "inactive_file ")
_NO_LIMIT = 1 << 60


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


def n_threads() -> int:
    """Return among how many threads work is to be shared: as OMP_NUM_THREADS says, else one for each processor.

    CTranslate2 and OpenMP go by the same variable, which is how several processes share a machine.
    """
    return min(n_cpus(), _number(os.environ.get("OMP_NUM_THREADS", "")) or n_cpus())


def available_memory() -> int | None:
    """Return the bytes that this process may still take without others being moved out; all that this machine has
    where it does not say; None where it says nothing.
    """
    free = [_number(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    free += [left for group in _GROUPS if (left := _left_in(*group)) is not None]
    if free:
        return min(free)
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def resident_memory() -> int | None:
    """Return the bytes of memory that this process holds at present; None where the system does not say."""
    pages = [_number(line.split()[1]) for line in _lines("/proc/self/statm")]
    return pages[0] * os.sysconf("SC_PAGE_SIZE") if pages else None


def _left_in(folder: str, limit: str, taken: str) -> int | None:
    """Return what a container may still take; None where there is no limit, or no container."""
    most, now = (_number(next(iter(_lines(f"{folder}/{name}")), "")) for name in (limit, taken))
    # Without a limit it says "max", or a number beyond all memory.
    if not 0 < most < _NO_LIMIT:
        return None
    # What is kept of files is counted as taken, but given up when it is needed.
    files = [line.split()[1] for line in _lines(f"{folder}/memory.stat") if line.startswith(_OF_FILES)]
    return max(most - now + sum(map(_number, files)), 0)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


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
