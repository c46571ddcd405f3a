"""Settings of audio formats, voice activity and the worker: pure types, which need nothing that runs them."""

from dataclasses import dataclass
from enum import Enum

from simul_whisper import SAMPLE_RATE, AudioFormatError, ConfigError, check_options, option

MIN_RATE, MAX_RATE = 8_000, 192_000
MAX_CHANNELS = 8
# Recordings have rates and channels that nobody streams; what lies beyond is a header gone wrong.
MIN_RECORDED_RATE, MAX_RECORDED_RATE = 4_000, 384_000
MAX_RECORDED_CHANNELS = 32


class Encoding(Enum):
    """How one sample is written: 16-bit integers, 32-bit floats in little endian, and the 8 bits of G.711's laws."""

    S16LE = "s16le"
    F32LE = "f32le"
    MULAW = "mulaw"
    ALAW = "alaw"


_BYTES_PER_SAMPLE = {Encoding.S16LE: 2, Encoding.F32LE: 4, Encoding.MULAW: 1, Encoding.ALAW: 1}


@dataclass(frozen=True)
class PcmFormat:
    """encoding: its name, as in `Encoding`; rate: frames per second, 8000-192000; channels: 1-8, interleaved.

    Raises AudioFormatError for anything else.
    """

    encoding: str = Encoding.S16LE.value
    rate: int = SAMPLE_RATE
    channels: int = 1

    def __post_init__(self) -> None:
        names = [each.value for each in Encoding]
        if self.encoding not in names:
            raise AudioFormatError(f"got encoding {self.encoding!r}, expected one of {', '.join(names)}")
        if type(self.rate) is not int or not MIN_RATE <= self.rate <= MAX_RATE:
            raise AudioFormatError(f"got a rate of {self.rate!r} Hz, expected {MIN_RATE}-{MAX_RATE}")
        if type(self.channels) is not int or not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioFormatError(f"got {self.channels!r} channels, expected 1-{MAX_CHANNELS}")

    @property
    def bytes_per_frame(self) -> int:
        """Bytes that hold one sample of every channel."""
        return _BYTES_PER_SAMPLE[Encoding(self.encoding)] * self.channels


@dataclass(frozen=True)
class RecordingConfig:
    """What is heard of a recording. Raises ConfigError for impossible values."""

    track: str = option("", "audio track: its number from 1, or its language; empty = the one that players take")
    channels: str = option("mix", "mix = all in one; separate = each by itself, with a label; 1, 2 ... = that one")
    any_format: bool = option(False, "open whatever FFmpeg knows, playlists too; only for recordings that you trust")

    def __post_init__(self) -> None:
        check_options(self)
        if self.channels not in ("mix", "separate") and not (self.channels.isdecimal() and int(self.channels)):
            raise ConfigError(f"got channels {self.channels!r}, expected mix, separate, or a number from 1")


@dataclass(frozen=True)
class VoiceConfig:
    """Settings of voice activity. Raises ConfigError for impossible values."""

    vad: bool = option(True, "decode speech only; false = everything is decoded")
    vad_threshold: float = option(
        0.5, "a sound with at least this probability is taken for speech", low=0.05, high=0.95
    )
    vad_lead_in: float = option(
        0.3, "seconds of audio before the first sound of speech that are decoded too", low=0, high=2
    )
    vad_pause: float = option(
        0.15, "seconds of silence inside an utterance after which what was said is decoded at once", low=0.1, high=10
    )
    vad_silence: float = option(0.7, "seconds of silence that end an utterance", low=0.1, high=10)
    vad_min_speech: float = option(0.1, "a sound with fewer seconds of speech is taken for a click", low=0, high=2)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class ClientLimits:
    """What clients may ask of the engine; what the server itself is set to, they may have too. Raises ConfigError."""

    beam_size: int = option(5, "hypotheses of the beam decoder, at most", low=1)
    audio_max_len: float = option(20.0, "seconds of audio, and of silence, in a window, at most", low=2)
    segment_length: float = option(0.2, "seconds of new audio between two decoding passes, at least", low=0.02)
    prompt_chars: int = option(1000, "characters of both prompts together, at most", low=0)
    terms: int = option(500, "names and terms to listen for, at most", low=0)
    max_tokens_per_second: float = option(20.0, "tokens per second of new audio, at most", low=1)
    targets: int = option(4, "languages to translate into, at most", low=0)
    speech: int = option(1, "texts of a session that are spoken at a time, at most", low=0)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class WorkerConfig:
    """Settings of the thread that serves many sessions. Raises ConfigError for impossible values."""

    max_sessions: int = option(
        0, "open sessions at most, including those whose client may come back; 0 = any number", low=0
    )
    admit: bool = option(True, "measure what a listener costs, and let in no more than can be served in time")
    buffer_s: float = option(30.0, "seconds of audio of one session that may wait to be decoded", low=1)
    late_s: float = option(1.0, "seconds that audio may wait; then all that waits is decoded at once", low=0)
    pass_s: float = option(
        20.0, "seconds of computation after which a decoding pass is ended with what it has read", low=0.1
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class ModelsConfig:
    """Settings of several models in one server. Raises ConfigError for impossible values."""

    model_idle: float = option(600.0, "seconds without a session after which a model but the first is unloaded", low=0)
    model_memory: int = option(
        0, "megabytes that all models together may take, the first among them; 0: what the machine has left", low=0
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class RayConfig:
    """Settings of a pool whose replicas Ray Serve runs. Raises ConfigError for impossible values."""

    ray_address: str = option(
        "",
        "head of the cluster, HOST:PORT; auto = of the one that this machine is part of; local = of a new one, this "
        "server's own; empty = auto, else local",
    )
    ray_replicas: int = option(
        1, "replicas, each a process with a model of its own; with --ray-most-replicas, at least", low=1
    )
    ray_most_replicas: int = option(
        0, "replicas, at most, as audio waits for them; 0 = as many as --ray-replicas", low=0
    )
    ray_cpus: float = option(1.0, "cores of a replica", low=0)
    ray_gpus: float = option(0.0, "GPUs of a replica; 0.5 = two share one", low=0)
    ray_drain_s: float = option(
        300.0, "seconds that a replica which is to go has for its sessions; then they go on at others", low=0
    )

    def __post_init__(self) -> None:
        check_options(self)
