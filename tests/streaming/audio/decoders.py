"""Processes that decode, as a test sees them, and what kills them."""

import subprocess

from streaming.audio.decoder_processes import DecoderProcesses


def children_of(pid: int | None) -> set[int]:
    """The processes that this one has started, but for those that are over."""
    rows = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    parts = [row.split() for row in rows.splitlines()]
    return {int(child) for child, parent, state in parts if int(parent) == pid and not state.startswith("Z")}


def decoders_of(processes: DecoderProcesses) -> set[int]:
    return children_of(processes.starter_pid)
