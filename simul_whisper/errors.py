"""The exception tree: every error this project raises on purpose descends from `SimulWhisperError`.

A message says what was found, what was expected and what to do.
"""


class SimulWhisperError(Exception):
    """Base of all errors that the world (files, flags, audio, models) can cause."""


class ConfigError(SimulWhisperError, ValueError):
    """A setting is unknown, has the wrong type or an impossible value."""


class AudioFormatError(SimulWhisperError, ValueError):
    """Audio has the wrong type, shape, rate or range, or a file holds no audio."""


class ModelError(SimulWhisperError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError):
    """No such model: unknown name, missing directory, or a hub that cannot be reached."""


class DownloadTimeoutError(ModelNotFoundError):
    """The hub took longer to answer than it may."""


class WeightsError(ModelError):
    """Model files are missing, truncated, damaged or of the wrong shape."""


class BackendError(SimulWhisperError):
    """A backend is unknown, not installed, or cannot do what was asked."""


class TranslationError(SimulWhisperError):
    """A translator has failed, or was too slow; the next sentence may go well."""


class EncoderError(SimulWhisperError):
    """The encoder cannot do its work; the kinds below say why."""


class DecoderError(SimulWhisperError):
    """The decoder cannot do its work."""


class VocoderError(SimulWhisperError):
    """The vocoder cannot do its work; the kinds below say why."""


class VoiceError(SimulWhisperError):
    """A voice cannot say this text; the next sentence may go well."""


class UnsupportedSampleRateError(VocoderError):
    """A vocoder has another sample rate than what its sound is for."""


class ShapeConversionError(EncoderError, DecoderError, VocoderError):
    """Features have another shape than the encoder, decoder or vocoder takes or promises."""

    def __init__(self, what: str, expected: tuple[int, ...], got: tuple[int, ...]) -> None:
        super().__init__(f"{what}: got shape {got}, expected {expected}")
        self.expected, self.got = expected, got


class CoreMLInferenceError(EncoderError, DecoderError, VocoderError):
    """Core ML failed to run the model; `__cause__` is its own error."""


class NeuralEngineNotAvailableError(EncoderError, DecoderError, VocoderError):
    """This device has no Neural Engine."""


class EncoderNotLoadedError(EncoderError):
    """The encoder could not be found, fetched, compiled or loaded."""


class DecoderNotLoadedError(DecoderError):
    """The decoder could not be found, fetched, compiled or loaded."""


class VocoderNotLoadedError(VocoderError):
    """The vocoder could not be found, compiled or loaded."""


class CoreMLNotLoadedError(EncoderNotLoadedError, DecoderNotLoadedError, VocoderNotLoadedError):
    """A Core ML model, whichever it is, could not be found, compiled or loaded."""
