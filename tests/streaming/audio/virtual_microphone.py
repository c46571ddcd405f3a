"""A microphone without hardware: a PulseAudio daemon of our own, whose null sink PortAudio records while it plays."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from simul_whisper import BackendError

_ALSA = """
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse }
ctl.!default { type pulse }
"""
_PLUGIN = "*/alsa-lib/libasound_module_pcm_pulse.so"


def missing() -> str | None:
    """Return what is not installed; None when nothing is."""
    programs = [name for name in ("pulseaudio", "pactl", "paplay") if not shutil.which(name)]
    if programs:
        return f"not installed: {', '.join(programs)} (Debian: pulseaudio pulseaudio-utils)"
    if not any(Path("/usr/lib").glob(_PLUGIN)):
        return "not installed: ALSA's PulseAudio plugin (Debian: libasound2-plugins)"
    try:
        import streaming.audio.microphone  # noqa: F401
    except BackendError as error:
        return str(error)
    return None


def wait_for(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.05)


class VirtualMicrophone:
    """environment: what a process needs to see it, as the default device."""

    def __init__(self, folder: Path) -> None:
        (folder / "asound.conf").write_text(_ALSA)
        server = f"unix:{folder}/socket"
        own = {"PULSE_SERVER": server, "XDG_RUNTIME_DIR": str(folder), "ALSA_CONFIG_PATH": str(folder / "asound.conf")}
        self.environment = {**os.environ, **own}
        self._module = self._loudspeaker = ""

    def pactl(self, *arguments: str) -> str:
        command = ["pactl", *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout.strip()

    def is_running(self) -> bool:
        command = ["pactl", "info"]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def plug_in(self) -> None:
        self._module = self.pactl("load-module", "module-null-sink", "sink_name=virtual")
        self.pactl("set-default-source", "virtual.monitor")

    def pull_out(self) -> None:
        self.pactl("unload-module", self._module)

    def plug_in_loudspeaker(self) -> None:
        """Connect another sink, which plays by default; the microphone stays what is recorded."""
        self._loudspeaker = self.pactl("load-module", "module-null-sink", "sink_name=loud")
        self.pactl("set-default-sink", "loud")

    def pull_out_loudspeaker(self) -> None:
        self.pactl("unload-module", self._loudspeaker)

    @contextmanager
    def feeding_back(self) -> Iterator[None]:
        """Let the microphone pick up what the loudspeaker plays."""
        module = self.pactl("load-module", "module-loopback", "source=loud.monitor", "sink=virtual", "latency_msec=50")
        try:
            yield
        finally:
            self.pactl("unload-module", module)

    @contextmanager
    def recording(self, path: Path) -> Iterator[None]:
        """Record what the loudspeaker plays, until it is pulled out: s16le, mono, 16 kHz."""
        flags = ["--raw", "--format=s16le", "--rate=16000", "--channels=1", "--latency-msec=50"]
        with (
            path.open("wb") as out,
            subprocess.Popen(["parec", "--device=loud.monitor", *flags], env=self.environment, stdout=out) as recorder,
        ):
            wait_for(lambda: path.stat().st_size > 0, 20, "the recorder")
            try:
                yield
            finally:
                recorder.terminate()

    @contextmanager
    def playing(self, path: Path) -> Iterator["subprocess.Popen[bytes]"]:
        """Play a recording into it."""
        command = ["paplay", "--device=virtual", str(path)]
        with subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL) as player:
            try:
                yield player
            finally:
                player.kill()


@contextmanager
def virtual_microphone() -> Iterator[VirtualMicrophone]:
    """Start the daemon, with the microphone plugged in."""
    # Not pytest's folder: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory() as name:
        microphone = VirtualMicrophone(Path(name))
        arguments = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes"]
        socket = f"module-native-protocol-unix socket={name}/socket auth-anonymous=1"
        environment = {key: value for key, value in microphone.environment.items() if key != "PULSE_SERVER"}
        command = ["pulseaudio", *arguments, "-L", socket]
        with subprocess.Popen(command, env=environment | {"HOME": name}, stderr=subprocess.DEVNULL) as daemon:
            try:
                wait_for(microphone.is_running, 20, "PulseAudio")
                microphone.plug_in()
                yield microphone
            finally:
                daemon.terminate()
