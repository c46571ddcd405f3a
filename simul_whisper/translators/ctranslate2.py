"""Translators in CTranslate2: OPUS-MT, M2M100, NLLB-200 and MADLAD-400.

The sentence before is not given to them: all four families were trained on single sentences, and of two they leave out
or join what they please, which words told once could not follow.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from simul_whisper.errors import (
    ConfigError,
    ModelError,
    ModelNotFoundError,
    TranslationError,
    WeightsError,
)
from simul_whisper.foreign_files import one_line
from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.translators import Sentence, TargetToken
from simul_whisper.translators.alignment import Alignment, alignment_of, with_alignment
from simul_whisper.translators.catalog import PLACES, check_model_name, filled_in, translator_directory
from simul_whisper.translators.config import TranslationConfig
from simul_whisper.translators.model_files import MODEL_FILE, Family, ModelFiles, beside_weights, read_files
from simul_whisper.translators.pairs import Pairs, pairs_of
from simul_whisper.translators.sentence_pieces import SentencePieces

# A translation is rarely longer; a model that repeats itself would go on to its last position.
_MOST_TARGET_PER_SOURCE, _MOST_TARGET_BESIDE = 2, 20
# The models were trained on sentences, and have 512 positions or 1024.
_MOST_SOURCE_TOKENS = 400


def open_ctranslate2(config: TranslationConfig, progress: ProgressHandler = silent) -> "CTranslate2Translator":
    """Return the translator that the settings ask for. Raises ConfigError and ModelError."""
    if config.glossary:
        raise ConfigError("got a glossary, which the models of ctranslate2 cannot be told; leave it out, or use openai")
    check_model_name(config.model)
    return CTranslate2Translator(config.model, progress)


class CTranslate2Translator:
    """One model for all pairs of languages, or, with {source} and {target} in its name, one for each pair."""

    def __init__(self, name: str, progress: ProgressHandler = silent) -> None:
        """Loads the model, unless its name depends on the languages. Raises ModelError."""
        self._name, self._progress = name, progress
        self._models: dict[str, _Model] = {}
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        if not any(place in name for place in PLACES):
            self._model("", "")

    @property
    def description(self) -> str:
        """What it is, for people and logs."""
        return f"ctranslate2 ({self._name})"

    def check_pair(self, source: str, target: str) -> None:
        """Raise ConfigError where no model is found for these languages, or where it does not know them."""
        try:
            self._model(source, target).check_pair(source, target)
        except ModelNotFoundError as error:
            raise ConfigError(f"{source} to {target}: {error}") from error

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        """Return what follows `sentence.told`, to the end of the translation. Raises TranslationError."""
        if not sentence.text:
            return ()
        try:
            model = self._model(sentence.source, sentence.target)
            model.check_pair(sentence.source, sentence.target)
            return model.translate(sentence)
        except (ConfigError, ModelError, RuntimeError, ValueError) as error:
            raise TranslationError(f"{self._name} could not translate: {one_line(error)}") from error

    def _model(self, source: str, target: str) -> "_Model":
        """Return the model for two languages, loaded once."""
        name = filled_in(self._name, source, target)
        with self._lock:
            loading = self._loading.setdefault(name, threading.Lock())
        # One that is downloaded holds up nobody who uses another.
        with loading:
            if name not in self._models:
                directory = translator_directory(name, self._progress)
                self._progress(Progress(Stage.LOADING, name))
                self._models[name] = load_model(directory, name)
            return self._models[name]


def load_model(directory: Path, name: str, alignment: Alignment | None = None) -> "_Model":
    """Load a model called `name`; alignment: which attention to give, in place of the model's own.

    Raises WeightsError for files that are missing or damaged.
    """
    files = read_files(directory)
    believed = alignment or alignment_of(files, name)
    source = SentencePieces(files.source_pieces)
    target = source if files.source_pieces == files.target_pieces else SentencePieces(files.target_pieces)
    return _Model(name, files, pairs_of(files, name), source, target, _engine(files, believed), believed is not None)


def _engine(files: ModelFiles, alignment: Alignment | None) -> Any:
    """Return CTranslate2's translator: on a GPU if there is one, else on one thread, beside recognition."""
    options: Mapping[str, Any] = {"device": "auto", "inter_threads": 1, "intra_threads": 1}
    file = files.directory / MODEL_FILE
    try:
        contents = _contents(files, alignment)
        return ctranslate2.Translator(str(files.directory), **options, **({"files": contents} if contents else {}))
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{file}: CTranslate2 cannot load it: {one_line(error)}") from error


def _contents(files: ModelFiles, alignment: Alignment | None) -> Mapping[str, bytes] | None:
    """Return the model's files with other heads chosen in them; None where they are as they should be."""
    model = with_alignment(files.directory / MODEL_FILE, alignment)
    if model is None:
        return None
    return beside_weights(files.directory) | {MODEL_FILE: model}


@dataclass(frozen=True)
class _Model:
    """A loaded model."""

    name: str
    files: ModelFiles
    pairs: Pairs
    source_pieces: SentencePieces
    target_pieces: SentencePieces
    engine: Any
    is_aligned: bool

    def check_pair(self, source: str, target: str) -> None:
        """Raise ConfigError unless it translates between these."""
        self.pairs.check(source, target, self.name)

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        """Return the tokens that follow what was told."""
        pieces, word_of = self.source_pieces.pieces(sentence.words)
        if len(pieces) > _MOST_SOURCE_TOKENS:
            raise TranslationError(f"got a sentence of {len(pieces)} tokens, expected at most {_MOST_SOURCE_TOKENS}")
        before, after, prefix = self._around(sentence)
        told = [*prefix, *self.target_pieces.pieces([sentence.told])[0]]
        source = [*before, *pieces, *after]
        found = self.engine.translate_batch(
            [source],
            target_prefix=[told],
            beam_size=1,
            # Of some words, nothing is to be said yet.
            min_decoding_length=0,
            max_decoding_length=len(told) + _MOST_TARGET_PER_SOURCE * len(pieces) + _MOST_TARGET_BESIDE,
            disable_unk=True,
            return_attention=self.is_aligned,
        )[0]
        tokens: list[str] = found.hypotheses[0][len(told) :]
        texts = self.target_pieces.texts(tokens)
        if not sentence.told and sentence.target in LANGUAGES_WITHOUT_SPACES:
            # SentencePiece begins every text with a space.
            texts[:1] = [text.lstrip() for text in texts[:1]]
        words = self._words(found, len(told), len(before), word_of) if self.is_aligned else [None] * len(tokens)
        return tuple(TargetToken(text, word) for text, word in zip(texts, words, strict=True) if text)

    def _around(self, sentence: Sentence) -> tuple[list[str], list[str], list[str]]:
        """Return what stands before the source, after it, and before the target."""
        source, target = self.pairs.tokens(sentence.source, sentence.target)
        end = [] if self.files.adds_end else [self.files.end_token]
        if self.files.family in (Family.M2M100, Family.NLLB):
            return [source], end, [target]
        if self.files.family is Family.MADLAD:
            return self.source_pieces.pieces([target])[0], end, []
        return [target] if target else [], end, []

    @staticmethod
    def _words(found: Any, n_told: int, n_before: int, word_of: Sequence[int]) -> list[int | None]:
        """Return the word that each token was read from.

        Languages and ends take the attention that has nowhere to go, so only the pieces of words count.
        """
        rows = np.asarray(found.attention[0], np.float32)[n_told : len(found.hypotheses[0])]
        places = rows[:, n_before : n_before + len(word_of)].argmax(axis=1) if len(rows) else []
        return [word_of[place] for place in places]
