"""What the processes of a server hold: memory, and sockets that they never should have."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process and all below it; what they share counts for each."""
    table = _table()
    return sum(table[each][1] for each in _tree(table, pid)) / 1e6


def udp_sockets(pid: int) -> int | None:
    """Return how many UDP sockets a process and those below it have bound; None where that is not told."""
    if not (_PROC / "self" / "net" / "udp").exists():
        return None
    bound = set[str]()
    for name in ("udp", "udp6"):
        with suppress(OSError):
            lines = (_PROC / str(pid) / "net" / name).read_text().splitlines()[1:]
            bound |= {f"socket:[{line.split()[9]}]" for line in lines}
    return sum(link in bound for each in _tree(_table(), pid) for link in _descriptors(each))


def _descriptors(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for each in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield str(each.readlink())


def _tree(table: dict[int, tuple[int, int]], pid: int) -> set[int]:
    found, n_before = {pid} & set(table), -1
    while len(found) > n_before:
        n_before = len(found)
        found |= {each for each, (parent, _) in table.items() if parent in found}
    return found


def _table() -> dict[int, tuple[int, int]]:
    """Return all processes: parent, and bytes of memory."""
    if (_PROC / "self" / "stat").exists():
        return dict(_read_proc())
    said = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True).stdout
    return {pid: (parent, 1024 * kb) for pid, parent, kb in (map(int, line.split()) for line in said.splitlines())}


def _read_proc() -> Iterator[tuple[int, tuple[int, int]]]:
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            # The name before it may have spaces.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            yield int(folder.name), (int(fields[1]), int(fields[21]) * resource.getpagesize())
