"""Settings of what speaks."""

from dataclasses import dataclass

from simul_whisper.options import check_options, option


@dataclass(frozen=True)
class SpeechConfig:
    """Settings of spoken text. Raises ConfigError for impossible values."""

    voice: str = option(
        "auto", "what speaks: auto = by the language, a name of `simul-whisper voices`, or a Piper or Kokoro .onnx file"
    )
    vocoder_backend: str = option(
        "auto", "what makes sound of a voice's features, where that can be chosen", ("auto", "coreml", "mlx", "onnx")
    )
    coreml_vocoder_path: str | None = option(
        None, "a Core ML vocoder, .mlpackage or .mlmodelc; unset: looked up beside the voice and by its name"
    )
    coreml_compute_units: str = option(
        "ALL", "what Core ML may run on", ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
    )
    speed: float = option(1.0, "how fast it speaks; 1 is the voice's own", low=0.5, high=2)
    most_speed: float = option(1.25, "how fast it may speak to catch up, as a multiple of speed", low=1, high=2)
    most_behind: float = option(
        30.0, "seconds of speech that may wait to be heard; older sentences are then left out", low=1
    )
    pause: float = option(0.3, "seconds of silence between two sentences; less when it is behind", low=0, high=5)

    def __post_init__(self) -> None:
        check_options(self)
