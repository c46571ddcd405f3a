"""The JSON that whisper.cpp writes with `--output-json-full` -> words with their times, by its segments.

It is put together by hand there: texts hold any bytes that tokens have, halves of characters and control characters
too.
"""

import codecs
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from simul_whisper import BackendError, Word

_LANGUAGE = re.compile("[a-z]{2,3}")
_SPECIAL = re.compile(r"\[_[^\]]*\]")
_ENGLISH_VOCABULARY, _ENGLISH_END_OF_TEXT = 51864, 50256
# Scripts whose words have no spaces between them, beside the wide ones of East Asia; and one of these whose words do.
_WITHOUT_SPACES = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_WITH_SPACES = "HANGUL"
_LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Transcription:
    """language: that is spoken, a Whisper code. passages: the words of each segment that has any, in their order."""

    language: str
    is_multilingual: bool
    passages: tuple[tuple[Word, ...], ...]


@dataclass(frozen=True)
class _Token:
    """start_ms, end_ms: None where whisper.cpp has not found them."""

    text: bytes
    start_ms: int | None
    end_ms: int | None
    probability: float


def read_transcription(content: bytes, audio_s: float, *, is_translated: bool) -> Transcription:
    """Return what whisper.cpp has understood of so much audio. Raises BackendError for anything that it does not write.

    A word begins with a token that begins with a space, and where the script has none, with any token; its probability
    is the geometric mean over its tokens. Times never go back, nor beyond the audio.
    """
    try:
        # Bytes that are no UTF-8 are kept for `_text`.
        said = json.loads(content.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError) as error:
        raise BackendError("whisper.cpp wrote something that is not JSON; is it another program?") from error
    match said:
        case {
            "transcription": list(segments),
            "result": {"language": str(language)},
            "model": {"multilingual": bool(is_multilingual), "vocab": int(n_vocab)},
        } if _LANGUAGE.fullmatch(language):
            end_of_text = _ENGLISH_END_OF_TEXT + (n_vocab > _ENGLISH_VOCABULARY)
            words = _Words("en" if is_translated else language, math.floor(audio_s * 1000))
            passages = [tuple(words.of_segment(*_segment(each, end_of_text))) for each in segments]
            return Transcription(language, is_multilingual, tuple(passage for passage in passages if passage))
    raise _not_understood("transcription, result.language, model.multilingual and model.vocab")


def _segment(segment: Any, end_of_text: int) -> tuple[list[_Token], int]:
    """Return the tokens of a segment that are text, and where it begins."""
    match segment:
        case {"offsets": {"from": int(start_ms)}, "tokens": list(tokens)}:
            found = [_token(each) for each in tokens if not _is_special(each, end_of_text)]
            return [token for token in found if token.text], start_ms
    raise _not_understood("segments with offsets and tokens")


def _is_special(token: Any, end_of_text: int) -> bool:
    match token:
        case {"id": int(number), "text": str(text)}:
            return number >= end_of_text or _SPECIAL.fullmatch(text) is not None
    raise _not_understood("tokens with id and text")


def _token(token: Any) -> _Token:
    match token:
        case {"text": str(text), "p": int() | float() as probability} if 0 <= probability <= 1.01:
            start_ms, end_ms = _times_ms(token)
            return _Token(_bytes(text), start_ms, end_ms, min(probability, 1.0))
    raise _not_understood("tokens with text and p, a probability")


def _times_ms(token: Any) -> tuple[int, int] | tuple[None, None]:
    match token:
        case {"offsets": {"from": int(start_ms), "to": int(end_ms)}}:
            return start_ms, end_ms
    return None, None


def _not_understood(expected: str) -> BackendError:
    return BackendError(f"whisper.cpp wrote JSON that is not understood: expected {expected}; is it another version?")


def _bytes(text: str) -> bytes:
    # Half a character that JSON itself has written as \\udXXX is none of UTF-8.
    return text.encode("utf-8", "surrogateescape" if all(map(_is_of_bytes, text)) else "replace")


def _is_of_bytes(character: str) -> bool:
    return not "\ud800" <= character <= "\udfff" or "\udc80" <= character <= "\udcff"


class _Words:
    """Puts tokens together to words, which follow each other in time."""

    def __init__(self, language: str, audio_ms: int) -> None:
        self._language, self._audio_ms = language, audio_ms
        self._end_ms = 0

    def of_segment(self, tokens: Iterable[_Token], start_ms: int) -> Iterator[Word]:
        open_tokens, ending = list[_Token](), _Ending()
        for token in tokens:
            if open_tokens and ending.is_before_word(token.text):
                yield from self._word(open_tokens, start_ms)
                open_tokens, ending = [], _Ending()
            open_tokens.append(token)
            ending.feed(token.text)
        if open_tokens:
            yield from self._word(open_tokens, start_ms)

    def _word(self, tokens: list[_Token], segment_ms: int) -> Iterator[Word]:
        text = _text(b"".join(token.text for token in tokens))
        if not text.strip():
            return
        # The mark after a word is heard anywhere in the silence behind it.
        sounding = [token for token in tokens if any(map(str.isalnum, _text(token.text)))] or tokens
        start_ms = self._placed(tokens[0].start_ms, segment_ms)
        self._end_ms = max(start_ms, self._placed(sounding[-1].end_ms, start_ms))
        logs = [math.log(max(token.probability, _LEAST_PROBABILITY)) for token in tokens]
        probability = math.exp(sum(logs) / len(logs))
        yield Word(text, start_ms / 1000, self._end_ms / 1000, probability, self._language)

    def _placed(self, found_ms: int | None, otherwise_ms: int) -> int:
        """Return a time that is not before the end of the word before, nor after the end of the audio."""
        return min(max(self._end_ms, otherwise_ms if found_ms is None else found_ms), self._audio_ms)


class _Ending:
    """How the bytes of a word end so far."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._last = " "

    def feed(self, content: bytes) -> None:
        self._last = (self._last + self._decoder.decode(content))[-1]

    def is_before_word(self, token: bytes) -> bool:
        """Whether a token begins another word; never in the middle of a character."""
        is_half = self._decoder.getstate()[0] != b""
        if is_half or token.startswith(b" "):
            return not is_half
        first = _text(token)[0]
        if _is_without_spaces(self._last):
            return first.isalnum() or first == "\ufffd"
        return self._last != " " and first.isalnum() and _is_without_spaces(first)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _is_without_spaces(character: str) -> bool:
    name = unicodedata.name(character, "")
    is_wide = unicodedata.east_asian_width(character) in "WF" and not name.startswith(_WITH_SPACES)
    return is_wide or name.startswith(_WITHOUT_SPACES)
