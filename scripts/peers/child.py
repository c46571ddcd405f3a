"""python -m scripts.peers.child JOB: load one system, let it hear the recordings, and write what it heard and took."""

import os
import resource
import sys
import time
from pathlib import Path

from tqdm import tqdm

from scripts.peers.job import Job, Outcome, Recording, Report, System
from scripts.peers.systems import SYSTEMS


def main() -> None:
    job = Job.read(Path(sys.argv[1]))
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    system = SYSTEMS[job.system].make(job)
    # What is done once, such as compiling kernels, is not what anybody waits for later.
    system.hear(min(job.recordings, key=lambda each: each.duration_s))
    outcomes = tuple(_heard(system, each) for each in tqdm(job.recordings, desc=job.system))
    Report(outcomes, peak_memory_mb()).write(Path(job.output))


def _heard(system: System, recording: Recording) -> Outcome:
    started = time.process_time()
    heard = system.hear(recording)
    return Outcome(recording.id, heard, time.process_time() - started)


def peak_memory_mb() -> float:
    """Return the most that was resident since the program began; `ru_maxrss` alone knows the parent's too on Linux."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1e3


if __name__ == "__main__":
    main()
