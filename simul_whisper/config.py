"""Every setting of the engine: one field, one default, its check and its help text.

A config may be changed freely until it is handed to `PaddedAlignAttWhisper`, which validates it and keeps a snapshot.
Command-line flags, TOML keys and the table in the docs are made from the fields.
"""

import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from simul_whisper.audio import MAX_WINDOW_S, SAMPLE_RATE
from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import one_line, read_bytes, shown
from simul_whisper.languages import language_code
from simul_whisper.options import checked_value, from_mapping, option

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Config = TypeVar("_Config", bound="SimulWhisperConfig")


# Python's reader takes time by the square of a long dotted key.
_MOST_TOML_BYTES = 16 << 10
_BACKENDS = ("auto", "coreml", "mlx", "ctranslate2")
_BOTH_BACKENDS = ("auto", "coreml", "mlx", "hybrid", "ctranslate2")
_DECODER_BACKENDS = ("auto", "coreml", "mlx", "onnx")
_QUANTIZATIONS = ("auto", "float16", "int8", "int4", "fastest")
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "max_performance": {"backend": "coreml", "quantization": "fastest", "load_in_background": True},
    "full_coreml": {"backend": "coreml", "decoder_backend": "coreml"},
    "hybrid": {"backend": "coreml", "decoder_backend": "mlx"},
    "mlx_only": {"backend": "mlx"},
}
"""Settings to start from.

max_performance: Core ML, loaded in the background; where there is none, the fastest encoder and decoder of the machine.
full_coreml: encoder and decoder in Core ML. hybrid: the encoder in Core ML, the decoder in MLX.
"""


_MOST_TERMS, _MOST_TERM_CHARS, _MOST_TERMS_BYTES = 5000, 100, 1 << 20
# Read by the tokenizer; other settings of text are chosen from lists, or name files, whose names may be any bytes.
_TEXTS = ("init_prompt", "static_init_prompt")


class LastWord(Enum):
    """What becomes of a last word that more audio may still change."""

    KEEP = "keep"
    DROP = "drop"


@dataclass
class SimulWhisperConfig:
    """Settings of any simultaneous policy over Whisper, and of what runs the model."""

    model_name: str = option("base", "an embedded model (tiny.en, base), a known name, or a hub id")
    model_path: str = option("", "a directory with a model, or a ggml-*.bin, in place of model_name")
    language: str = option("auto", "the language spoken: auto, or a name or code such as German, de or de-DE")
    languages: Sequence[str] = option(
        (), "languages that may be detected, such as en,de: the fewer, the sooner; empty: all that the model knows"
    )
    task: str = option(
        "transcribe", "write the words spoken, or their English translation", ("transcribe", "translate")
    )
    targets: Sequence[str] = option(
        (), "languages to translate into beside the transcript; into English Whisper translates from the same encoding"
    )
    decoder_type: str = option("beam", "how tokens are searched", ("greedy", "beam"))
    beam_size: int = option(5, "hypotheses kept by the beam decoder", low=1, high=16)
    init_prompt: str = option("", "text that came before the stream; it scrolls away as text is committed")
    static_init_prompt: str = option("", "text always kept in front of the context, such as names and terms")
    terms: Sequence[str] = option(
        (), "names and terms to listen for; each is written where it may well be what was said"
    )
    terms_boost: float = option(
        2.0,
        "log-probability that a term may cost for each of its tokens, up to five; 0: none is listened for",
        low=0,
        high=5,
    )
    max_context_tokens: int = option(
        60, "tokens of committed text, older than the window, shown to the decoder", low=0, high=220
    )
    audio_min_len: float = option(
        0.0, "a window with fewer seconds of audio is not decoded yet", low=0, high=MAX_WINDOW_S
    )
    audio_max_len: float = option(12.0, "seconds of audio kept in the window", low=2, high=MAX_WINDOW_S)
    segment_length: float = option(
        1.25, "seconds of new audio between two decoding passes, at most", low=0.02, high=MAX_WINDOW_S
    )
    backend: str = option(
        "auto",
        "what runs encoder and decoder, where it can; hybrid: the encoder in Core ML, the decoder in MLX",
        _BOTH_BACKENDS,
    )
    encoder_backend: str = option("auto", "what runs the encoder; auto: as backend says", _BACKENDS)
    encoder_compute_type: str = option(
        "auto", "precision of the ctranslate2 encoder", ("auto", "int8", "float16", "float32")
    )
    decoder_backend: str = option(
        "auto",
        "what runs the decoder; auto: mlx on GPUs and Macs, else the faster onnx, and never coreml, which was measured "
        "on no device yet",
        _DECODER_BACKENDS,
    )
    decoder_device: str = option("auto", "where MLX runs the decoder", ("auto", "cpu", "gpu"))
    quantization: str = option(
        "auto",
        "precision of the weights in mlx and onnx; auto: int8 in onnx, float16 on a GPU, else float32; "
        "fastest: as auto, and int8 for decoders on a GPU",
        _QUANTIZATIONS,
    )
    fallback_to_float16: bool = option(True, "use float16 where mlx cannot quantize the weights, instead of failing")
    download_timeout: float = option(30.0, "seconds that the Hugging Face hub may take to answer", low=0.1, high=3600)
    coreml_download: str = option(
        "auto",
        "whether a Core ML model may be downloaded; auto: where its compilation is waited for; always: also where "
        "backend is auto, which then waits for both",
        ("auto", "never", "always"),
    )
    load_in_background: bool = option(False, "start with another encoder and decoder while Core ML gets ready")
    wait_for_compilation: bool | None = option(
        None,
        "wait while Core ML compiles for this device, at first for minutes; unset: only where coreml was asked for",
    )
    compile_timeout: float = option(600.0, "seconds after which compiling for Core ML is given up", low=1, high=86400)
    use_coreml_encoder: bool = option(False, "older way to write encoder_backend = coreml")
    coreml_encoder_path: str | None = option(
        None, "a Core ML encoder, .mlpackage or .mlmodelc; unset: looked up beside the weights and by the model's name"
    )
    coreml_decoder_path: str | None = option(
        None, "a Core ML decoder, .mlpackage or .mlmodelc; unset: looked up likewise, if decoder_backend is coreml"
    )
    coreml_compute_units: str = option(
        "ALL", "what Core ML may run on", ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
    )

    @classmethod
    def from_mapping(cls: type[_Config], values: Mapping[str, Any], source: str = "settings") -> _Config:
        """Return a config with these values; raises ConfigError for keys that are not settings."""
        return from_mapping(cls, values, source)

    @classmethod
    def from_toml(cls: type[_Config], path: str | Path) -> _Config:
        """Read a TOML file of `setting = value` lines; raises ConfigError when it cannot be read or understood."""
        return cls.from_mapping(read_toml(path), str(path))

    def validated(self: _Config) -> _Config:
        """Return a checked copy, with the language as a code; later assignments to this one do not change it.

        Raises ConfigError.
        """
        snapshot = copy.deepcopy(self)
        for each in fields(snapshot):
            setattr(snapshot, each.name, checked_value(each, getattr(snapshot, each.name)))
        for name in _TEXTS:
            _check_text(name, getattr(snapshot, name))
        snapshot.language = language_code(snapshot.language)
        snapshot.languages = _checked_languages("languages", snapshot.languages)
        snapshot.targets = checked_targets(snapshot.targets)
        snapshot.terms = checked_terms(snapshot.terms)
        if snapshot.task == "translate" and "en" in snapshot.targets:
            raise ConfigError("task = translate writes English already; leave en out of the targets")
        if snapshot.use_coreml_encoder:
            if snapshot.encoder_backend not in ("auto", "coreml"):
                raise ConfigError(
                    f"use_coreml_encoder contradicts encoder_backend = {snapshot.encoder_backend}; leave one out"
                )
            snapshot.encoder_backend, snapshot.use_coreml_encoder = "coreml", False
        return snapshot


@dataclass
class AlignAttConfig(SimulWhisperConfig):
    """All settings of the engine: those above, and those of the AlignAtt policy."""

    frame_threshold: int = option(
        15, "frames (20 ms) before the edge of the audio where emission stops", low=1, high=500
    )
    rewind_threshold: int = option(
        200, "frames that attention may jump back before a pass is discarded", low=1, high=1500
    )
    last_word: str = option(
        "drop",
        "what becomes of an unfinished last word: keep it, or drop it until more is heard",
        [e.value for e in LastWord],
    )
    cif_ckpt_path: str = option("", "older setting, accepted and not read: end-of-word (CIF) weights gained nothing")
    never_fire: bool | None = option(None, "older way to write last_word: true is keep, false is drop")
    hold_probability: float = option(
        0.6, "probability below which a new token waits until a second pass reads it too; 0: never", low=0, high=1
    )
    hold_len: float = option(
        1.2,
        "seconds after which an unlikely token, or a number that may go on, no longer waits",
        low=0,
        high=MAX_WINDOW_S,
    )
    english_beam_size: int = option(
        3,
        "hypotheses kept for the English translation beside a transcript; 1: greedy, which costs less",
        low=1,
        high=16,
    )
    nonspeech_prob: float = option(
        0.35, "no-speech probability below which a window is never taken for silence; 1: never", low=0, high=1
    )
    max_tokens_per_second: float = option(
        12.0, "tokens per second of new audio above which text is taken for a loop", low=1, high=100
    )
    language_min_len: float = option(1.0, "seconds of audio before the language is detected", low=0, high=MAX_WINDOW_S)
    padding_len: float = option(
        2.0, "seconds of silence that the decoder sees after the audio", low=0, high=MAX_WINDOW_S
    )
    window_min_len: float = option(
        10.0, "seconds of audio and silence that the encoder gets at least", low=0, high=MAX_WINDOW_S
    )
    alignment_heads: Sequence[Sequence[int]] = option(
        (), "[[layer, head], ...] in place of the model's own alignment heads"
    )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "AlignAttConfig":
        """Return the settings of that name, with changes; PRESETS lists the names. Raises ConfigError."""
        if name not in PRESETS:
            raise ConfigError(f"got preset {name!r}, expected one of {', '.join(PRESETS)}")
        return cls.from_mapping({**PRESETS[name], **changes})

    def validated(self) -> "AlignAttConfig":
        snapshot = super().validated()
        if snapshot.never_fire is not None:
            snapshot.last_word = (LastWord.KEEP if snapshot.never_fire else LastWord.DROP).value
            snapshot.never_fire = None
        if snapshot.audio_min_len > snapshot.audio_max_len:
            raise ConfigError(
                f"got audio_min_len {snapshot.audio_min_len:g} s, expected at most audio_max_len, "
                f"{snapshot.audio_max_len:g} s"
            )
        if snapshot.segment_length > snapshot.audio_max_len / 2:
            raise ConfigError(
                f"got segment_length {snapshot.segment_length:g} s, expected at most half of audio_max_len, "
                f"{snapshot.audio_max_len:g} s"
            )
        pairs = [pair for pair in snapshot.alignment_heads if isinstance(pair, list | tuple) and len(pair) == 2]
        if len(pairs) < len(snapshot.alignment_heads) or not all(type(part) is int for pair in pairs for part in pair):
            raise ConfigError(
                f"got alignment_heads {shown(snapshot.alignment_heads)}, expected [[layer, head], ...] in whole numbers"
            )
        return snapshot

    @property
    def n_beams(self) -> int:
        return self.beam_size if self.decoder_type == "beam" else 1

    @property
    def max_samples(self) -> int:
        return round(self.audio_max_len * SAMPLE_RATE)


def checked_targets(targets: Sequence[str]) -> tuple[str, ...]:
    """Return the languages as codes, each once. Raises ConfigError."""
    return _checked_languages("targets", targets)


def _checked_languages(name: str, written: Sequence[str]) -> tuple[str, ...]:
    if isinstance(written, str) or not all(isinstance(each, str) for each in written):
        raise ConfigError(f'got {name} {shown(written)}, expected a list of languages such as ["en", "es"]')
    if "auto" in written:
        raise ConfigError(f"got {name} {shown(written)}, expected languages; auto is none")
    return tuple(dict.fromkeys(language_code(each, may_be_auto=False) for each in written))


def checked_terms(terms: Sequence[str]) -> tuple[str, ...]:
    """Return the names and terms, each once, without the space around them. Raises ConfigError."""
    if isinstance(terms, str) or not all(isinstance(term, str) for term in terms):
        raise ConfigError(f'got terms {shown(terms)}, expected a list of texts such as ["Ada Lovelace", "mel"]')
    found = tuple(dict.fromkeys(term.strip() for term in terms if term.strip()))
    if len(found) > _MOST_TERMS:
        raise ConfigError(f"got {len(found)} terms, expected at most {_MOST_TERMS}")
    for term in found:
        _check_text("terms", term)
        if len(term) > _MOST_TERM_CHARS or not term.isprintable():
            raise ConfigError(f"got the term {shown(term)}, expected at most {_MOST_TERM_CHARS} printable characters")
    return found


def read_terms(path: str | Path) -> tuple[str, ...]:
    """Read names and terms, one a line, from a text file in UTF-8; lines that begin with # are passed over.

    Raises ConfigError.
    """
    try:
        lines = read_bytes(Path(path), _MOST_TERMS_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not a list of terms, one a line, in UTF-8: {one_line(error)}") from error
    try:
        return checked_terms([line for line in lines if not line.startswith("#")])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"got {name} with {text[error.start]!a} at position {error.start}, which is half a character; "
            "expected text that can be written as UTF-8"
        ) from error


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return what a TOML file says, tables and all; raises ConfigError when it cannot be read or understood."""
    try:
        return tomllib.loads(read_bytes(Path(path), _MOST_TOML_BYTES).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {one_line(error)}") from error
