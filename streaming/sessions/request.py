"""What a client may ask for, below every protocol, and the refusal of what it may not have. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from simul_whisper import AlignAttConfig, ConfigError, SimulWhisperError
from streaming.events import Reason
from streaming.settings import ClientLimits, PcmFormat, VoiceConfig

ENGINE_OPTIONS = (
    "language languages task init_prompt static_init_prompt terms terms_boost max_context_tokens audio_min_len "
    "audio_max_len segment_length frame_threshold rewind_threshold last_word hold_probability hold_len nonspeech_prob "
    "max_tokens_per_second language_min_len padding_len window_min_len decoder_type beam_size"
).split()
VOICE_OPTIONS = [each.name for each in fields(VoiceConfig)]
# The target of what is said itself, as events have it.
TRANSCRIPT = ""


class Refusal(SimulWhisperError):  # noqa: N818
    """The answer to a request that cannot be granted.

    retry_after_s: in how many seconds it probably can be; None where nobody knows, or it never can.
    """

    def __init__(self, reason: Reason, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reason, self.retry_after_s = reason, retry_after_s


@dataclass(frozen=True)
class SessionRequest:
    """A session that somebody asks for.

    audio: how it comes; None: in pieces of a container. engine, voice: settings that differ from the server's, of those
    in ENGINE_OPTIONS and VOICE_OPTIONS. targets: languages to translate into. drafts: whether text that may still
    change is told too. speech: which texts are spoken: targets, or TRANSCRIPT. model: the name of the one that is to
    listen, of those that the server has; empty: the server chooses.
    """

    audio: PcmFormat | None = field(default_factory=PcmFormat)
    engine: Mapping[str, Any] = field(default_factory=dict)
    voice: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    drafts: bool = True
    speech: tuple[str, ...] = ()
    model: str = ""

    def engine_config(self, defaults: AlignAttConfig, limits: ClientLimits | None = None) -> AlignAttConfig:
        """Return the server's settings changed by the client's.

        Raises Refusal when they do not go together, or are beyond the limits.
        """
        _check_names("engine", self.engine, ENGINE_OPTIONS)
        try:
            config = replace(defaults, **self.engine).validated()
            if limits:
                _check_limits(config, defaults, limits)
        except ConfigError as error:
            raise Refusal(Reason.CONFIG, str(error)) from error
        return config

    def voice_config(self, defaults: VoiceConfig) -> VoiceConfig:
        """Return the server's settings of voice activity changed by the client's. Raises Refusal."""
        _check_names("voice", self.voice, VOICE_OPTIONS)
        try:
            return replace(defaults, **self.voice)
        except ConfigError as error:
            raise Refusal(Reason.CONFIG, str(error)) from error


def most_terms(defaults: AlignAttConfig, limits: ClientLimits) -> int:
    """Return how many terms a client may have listened for."""
    return max(limits.terms, len(defaults.terms))


def _check_limits(config: AlignAttConfig, defaults: AlignAttConfig, limits: ClientLimits) -> None:
    """Raise ConfigError for what is beyond the limits and the server's own settings."""
    _check_most("beam_size", config.n_beams, max(limits.beam_size, defaults.n_beams))
    for name in ("audio_max_len", "window_min_len", "padding_len"):
        _check_most(name, getattr(config, name), max(limits.audio_max_len, getattr(defaults, name)))
    most_tokens = max(limits.max_tokens_per_second, defaults.max_tokens_per_second)
    _check_most("max_tokens_per_second", config.max_tokens_per_second, most_tokens)
    _check_most("characters of prompts", _prompt_chars(config), max(limits.prompt_chars, _prompt_chars(defaults)))
    _check_most("number of terms", len(config.terms), most_terms(defaults, limits))
    least_s, segment_s = min(limits.segment_length, defaults.segment_length), config.segment_length
    if segment_s < least_s:
        raise ConfigError(f"got segment_length = {segment_s:g}, but clients may ask for {least_s:g} at least")


def _check_most(name: str, given: float, most: float) -> None:
    if given > most:
        raise ConfigError(f"got {name} = {given:g}, but clients may ask for {most:g} at most")


def _prompt_chars(config: AlignAttConfig) -> int:
    return len(config.init_prompt) + len(config.static_init_prompt)


def _check_names(kind: str, values: Mapping[str, Any], known: list[str]) -> None:
    unknown = next((name for name in values if name not in known), None)
    if unknown is not None:
        raise Refusal(Reason.CONFIG, f"{unknown!r} is no {kind} setting that clients may change: {', '.join(known)}")
