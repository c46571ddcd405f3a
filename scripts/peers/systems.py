"""The systems by name: where each is, and which package it needs."""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from scripts.peers.job import Job, System


@dataclass(frozen=True)
class Entry:
    """maker: module:name of what makes it from a Job. package: what it imports; pip: how that is called there."""

    maker: str
    package: str
    pip: str

    @property
    def is_installed(self) -> bool:
        return find_spec(self.package) is not None

    def make(self, job: Job) -> System:
        module, _, name = self.maker.partition(":")
        system: System = getattr(import_module(module), name)(job)
        return system


OURS, BOUND = "ours", "faster-whisper"
SYSTEMS = {
    OURS: Entry("scripts.peers.engine:Engine", "simul_whisper", "simul-whisper"),
    BOUND: Entry("scripts.peers.faster:Offline", "faster_whisper", "faster-whisper"),
    "local-agreement": Entry("scripts.peers.faster:Agreeing", "faster_whisper", "faster-whisper"),
    "wlk-alignatt": Entry("scripts.peers.livekit:align_att", "whisperlivekit", "whisperlivekit"),
    "wlk-local-agreement": Entry("scripts.peers.livekit:local_agreement", "whisperlivekit", "whisperlivekit"),
}
PEERS = tuple(name for name in SYSTEMS if name != OURS)
