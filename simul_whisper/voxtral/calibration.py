"""Which of a Voxtral's heads tell where it reads: measured on recordings, without their transcripts.

A token is read from the audio that makes it appear. The model's own text of all of a recording is shown to it with
more and more of the recording, and each token is heard where, from then on, it would be written next. A head that looks
there, or shortly before, is right; the best heads are chosen together, as the policy reads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simul_whisper.agreement import n_agreed
from simul_whisper.alignatt import AttendedFrames
from simul_whisper.audio import MAX_WINDOW_SAMPLES, SAMPLE_RATE, SAMPLES_PER_FRAME, Samples
from simul_whisper.decoders import Step
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.mel import log_mel
from simul_whisper.voxtral.decoder import VoxtralDecoder
from simul_whisper.voxtral.heads import Measured
from simul_whisper.voxtral.language import MlxLanguage
from simul_whisper.voxtral.tokenizer import VoxtralTokenizer
from simul_whisper.weights.model import Head

_STEP_FRAMES = 16
# A word appears once enough of it is heard.
_LAG_FRAMES = 25
_MOST_TOKENS = 200
_N_TOGETHER = (1, 2, 3, 4, 6, 8, 10)
# Of the policy, as its settings have it by default.
_EDGE_FRAMES = 15


@dataclass(frozen=True)
class Recording:
    """samples: float32 (n,), 16 kHz; what is longer than 30 s is left out. language: a code such as `en`."""

    samples: Samples
    language: str


@dataclass(frozen=True)
class _Read:
    """A recording as it was read. prompt, tokens: what was read, and written.

    cuts: where it was cut, in frames, the last at its end; heard: for each token, the first of them that has it.
    """

    recording: Recording
    prompt: list[int]
    tokens: list[int]
    cuts: list[int]
    heard: list[int]


class _Reader:
    """A model that reads texts it is given."""

    def __init__(self, language: MlxLanguage, encoder: AudioEncoder, tokenizer: VoxtralTokenizer) -> None:
        self._language, self._encoder, self.tokenizer = language, encoder, tokenizer
        self.dims = language.dims

    def features(self, samples: Samples) -> Features:
        return self._encoder.encode(log_mel(samples[:MAX_WINDOW_SAMPLES], self.dims.n_mels))

    def step(self, features: Features, tokens: Sequence[int], heads: tuple[Head, ...] = ()) -> Step:
        """Return what is said after each of the tokens, and where these heads look."""
        decoder = VoxtralDecoder(self._language.looking(heads), self.tokenizer, n_heads=len(heads))
        return decoder.step(decoder.begin(features), [tokens], range(len(tokens)))

    def text(self, features: Features, prompt: Sequence[int]) -> list[int]:
        """Return the tokens that the model writes, without their end."""
        decoder = VoxtralDecoder(self._language.looking(()), self.tokenizer, n_heads=0)
        state, found, newest = decoder.begin(features), list[int](), list(prompt)
        while len(found) < _MOST_TOKENS:
            newest = [int(decoder.step(state, [newest]).logits[0, -1].argmax())]
            if newest == [self.tokenizer.eot]:
                break
            found += newest
        return found

    def n_alike(self, step: Step, n_prompt: int, tokens: Sequence[int]) -> int:
        """Return how many of the tokens, read after a prompt, the model would have written itself."""
        return n_agreed(step.logits[0, n_prompt - 1 :].argmax(axis=-1).tolist(), tokens)


def calibrate(
    language: MlxLanguage, encoder: AudioEncoder, tokenizer: VoxtralTokenizer, recordings: Sequence[Recording]
) -> Measured:
    """Return the best heads, and what was measured of them: `write_heads` takes it if it `is_believed`.

    recordings: some, of a few sentences each, in the languages that are to be heard.
    """
    reader = _Reader(language, encoder, tokenizer)
    read = [_read(reader, recording) for recording in recordings]
    n_layers, n_heads = reader.dims.n_text_layer, reader.dims.n_text_head
    right = np.zeros((n_layers, n_heads), np.int64)
    for each in read:
        right += _right_by_head(reader, each)
    best = [divmod(int(n), n_heads) for n in np.argsort(-right.reshape(-1), kind="stable")[: max(_N_TOGETHER)]]
    choices = dict.fromkeys(tuple(best[:n]) for n in _N_TOGETHER)
    n_tokens = max(1, sum(len(each.tokens) for each in read))
    shares = {heads: sum(_n_right(reader, each, heads) for each in read) / n_tokens for heads in choices}
    heads = max(shares, key=lambda each: shares[each])
    return _measured(reader, read, heads, shares[heads])


def _read(reader: _Reader, recording: Recording) -> _Read:
    features = reader.features(recording.samples)
    prompt = reader.tokenizer.sot_sequence(recording.language, "transcribe")
    tokens = reader.text(features, prompt)
    n_frames = min(len(recording.samples), MAX_WINDOW_SAMPLES) // SAMPLES_PER_FRAME
    cuts = [*range(_STEP_FRAMES, n_frames, _STEP_FRAMES), n_frames]
    heard = [n_frames] * len(tokens)
    for cut in reversed(cuts):
        step = reader.step(reader.features(_cut(recording, cut)), [*prompt, *tokens])
        n = reader.n_alike(step, len(prompt), tokens)
        # Not where it was guessed before, and then no longer.
        last = next((i for i, frame in enumerate(heard) if frame > _next(cuts, cut)), len(tokens))
        heard[: min(n, last)] = [cut] * min(n, last)
    return _Read(recording, prompt, tokens, cuts, heard)


def _next(cuts: Sequence[int], cut: int) -> int:
    return next((each for each in cuts if each > cut), cut)


def _cut(recording: Recording, n_frames: int) -> Samples:
    return recording.samples[: n_frames * SAMPLES_PER_FRAME]


def _frames(step: Step, n_prompt: int, content_frames: int, *, together: bool) -> NDArray[np.int64]:
    """Return the frames that each token after the prompt was read from, (n_heads, n); of all heads together, (1, n)."""
    rows = step.attention if together else step.attention[0][:, None]
    attended = AttendedFrames(content_frames)
    attended.feed(rows[:, :, : n_prompt - 1])
    n = rows.shape[2]
    return np.stack([attended.feed(rows[:, :, i : i + 1]) for i in range(n_prompt - 1, n - 1)], axis=1)


def _is_right(frames: NDArray[np.int64], read: _Read) -> NDArray[np.bool_]:
    heard = np.array(read.heard)
    return (frames <= heard) & (frames >= heard - _STEP_FRAMES - _LAG_FRAMES)


def _right_by_head(reader: _Reader, read: _Read) -> NDArray[np.int64]:
    """Return how many tokens each head is right about, (n_layers, n_heads)."""
    features, dims = reader.features(read.recording.samples), reader.dims
    found = np.zeros((dims.n_text_layer, dims.n_text_head), np.int64)
    for layer in range(dims.n_text_layer) if read.tokens else ():
        heads = tuple((layer, head) for head in range(dims.n_text_head))
        step = reader.step(features, [*read.prompt, *read.tokens], heads)
        frames = _frames(step, len(read.prompt), read.cuts[-1], together=False)
        found[layer] = _is_right(frames, read).sum(axis=1)
    return found


def _n_right(reader: _Reader, read: _Read, heads: tuple[Head, ...]) -> int:
    if not read.tokens:
        return 0
    step = reader.step(reader.features(read.recording.samples), [*read.prompt, *read.tokens], heads)
    return int(_is_right(_frames(step, len(read.prompt), read.cuts[-1], together=True), read).sum())


def _measured(reader: _Reader, read: Sequence[_Read], heads: tuple[Head, ...], right: float) -> Measured:
    """Return what the policy would do with these heads, pass by pass."""
    n_told = n_wrong = n_possible = 0
    for each in read:
        for cut in each.cuts[:-1]:
            step = reader.step(reader.features(_cut(each.recording, cut)), [*each.prompt, *each.tokens], heads)
            n = reader.n_alike(step, len(each.prompt), each.tokens)
            frames = _frames(step, len(each.prompt), cut, together=True)[0] if each.tokens else np.zeros(0)
            told = next((i for i, frame in enumerate(frames) if cut - frame <= _EDGE_FRAMES), len(frames))
            ends = int(step.logits[0, len(each.prompt) - 1 + n].argmax()) == reader.tokenizer.eot
            n_told += min(told, n)
            n_wrong += told > n and not ends
            n_possible += n
    total_s = sum(each.cuts[-1] for each in read) * SAMPLES_PER_FRAME / SAMPLE_RATE
    return Measured(
        heads, right, n_told / max(1, n_possible), n_told / max(1, n_told + n_wrong), len(read), round(total_s, 1)
    )
