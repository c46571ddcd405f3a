"""Sounds that put words into Whisper's mouth, made from nothing or from speech: float32 (n,), mono, 16 kHz."""

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE
from streaming.audio.pcm import Resampler

Sound = NDArray[np.float32]

_FRAME, _HOP = 1024, 256
# Below the pitch of any voice: what is left of a spectrum's cepstrum is the mouth.
_MOUTH_CEPSTRUM = 48
_TELEPHONE_RATE = 8_000
_MU = 255


def silence(duration_s: float) -> Sound:
    return np.zeros(round(duration_s * SAMPLE_RATE), np.float32)


def noise(duration_s: float, level: float, seed: int = 0) -> Sound:
    """White noise of that RMS."""
    n = round(duration_s * SAMPLE_RATE)
    return np.asarray(np.random.default_rng(seed).standard_normal(n) * level, np.float32)


def music(duration_s: float, seed: int = 0) -> Sound:
    """Plucked notes of a major scale over two chords that take turns, as callers hear who wait."""
    n = round(duration_s * SAMPLE_RATE)
    notes = np.random.default_rng(seed).choice([262, 294, 330, 349, 392, 440, 494, 523], n // 4000 + 1)
    plucked = np.sin(_phase(np.repeat(notes, 4000)[:n])) * np.exp(-(np.arange(n) % 4000) / 1500)
    chords = [sum(np.sin(_phase(np.full(n, hz))) for hz in chord) for chord in ((131, 165, 196), (175, 220, 262))]
    return np.asarray(0.3 * plucked + 0.05 * np.where(np.arange(n) // SAMPLE_RATE % 2 < 1, *chords), np.float32)


def ringing(duration_s: float) -> Sound:
    """A telephone that rings: a second of two tones, and three of nothing."""
    n = round(duration_s * SAMPLE_RATE)
    tones = sum(np.sin(_phase(np.full(n, hz))) for hz in (440, 480))
    return np.asarray(0.1 * tones * (np.arange(n) % (4 * SAMPLE_RATE) < SAMPLE_RATE), np.float32)


def applause(duration_s: float, n_people: int = 60, seed: int = 0) -> Sound:
    """People who clap about four times a second each; a clap is some milliseconds of noise. It swells and dies away."""
    generator, n = np.random.default_rng(seed), round(duration_s * SAMPLE_RATE)
    sound, length = np.zeros(n), SAMPLE_RATE // 50
    for _ in range(n_people):
        colour = generator.standard_normal(length) * np.exp(-np.arange(length) / generator.uniform(30, 80))
        steps = generator.normal(0.25, 0.03, round(duration_s * 4)) * SAMPLE_RATE
        for start in np.cumsum(steps).astype(int):
            if 0 <= start < n - length:
                sound[start : start + length] += colour * generator.uniform(0.3, 1)
    return loud(sound * np.sin(np.linspace(0, np.pi, n)) ** 0.5, 0.1)


def laughter(duration_s: float, pitch_hz: float = 190, seed: int = 0) -> Sound:
    """ "Ha ha ha": five a second, each breath and voice through an open mouth, falling, with a breath after eight."""
    generator, n = np.random.default_rng(seed), round(duration_s * SAMPLE_RATE)
    time_s = np.arange(n) / SAMPLE_RATE
    in_breath = time_s % 2.0
    burst = (in_breath < 1.6) * np.clip(np.sin(2 * np.pi * 5 * time_s), 0, 1) ** 0.7
    pitch = pitch_hz * (1.25 - 0.25 * in_breath) * (1 + 0.1 * np.sin(2 * np.pi * 5 * time_s))
    source = _pulses(pitch) + 0.4 * generator.standard_normal(n)
    spectrum, hz = np.fft.rfft(source * burst), np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    mouth = sum(1 / (1 + ((hz - formant) / width) ** 2) for formant, width in ((750, 90), (1300, 110), (2600, 170)))
    return loud(np.fft.irfft(spectrum * mouth, n), 0.08)


def whispered(speech: Sound, seed: int = 0) -> Sound:
    """The same said without voice: breath through the same mouth, and nothing of the chest."""
    breath = np.random.default_rng(seed).standard_normal(len(speech))
    hz = np.fft.rfftfreq(len(speech), 1 / SAMPLE_RATE)
    hissed = np.fft.irfft(np.fft.rfft(_spoken_by(breath, speech)) * hz / (hz + 600), len(speech))
    return loud(hissed, 0.03)


def sung(speech: Sound, notes_hz: tuple[float, ...], note_s: float = 0.6, slower: float = 1.6) -> Sound:
    """The same sung, a note after the other with vibrato, more slowly than it was said."""
    n = round(len(speech) * slower)
    time_s = np.arange(n) / SAMPLE_RATE
    pitch = np.array(notes_hz)[(time_s / note_s).astype(int) % len(notes_hz)]
    voice = _pulses(pitch * (1 + 0.02 * np.sin(2 * np.pi * 5.5 * time_s)))
    return loud(_spoken_by(voice + 0.1 * np.random.default_rng(0).standard_normal(n), speech), 0.1)


def telephone(speech: Sound, lost_one_in: int = 0, seed: int = 0) -> Sound:
    """8 kHz, 300-3400 Hz, eight bits by the law mu; with one in so many packets of 20 ms lost."""
    narrow = Resampler(SAMPLE_RATE, _TELEPHONE_RATE).feed(speech, is_last=True)
    spectrum, hz = np.fft.rfft(narrow), np.fft.rfftfreq(len(narrow), 1 / _TELEPHONE_RATE)
    narrow = np.clip(np.fft.irfft(spectrum * ((hz > 300) & (hz < 3400)), len(narrow)), -1, 1)
    companded = np.sign(narrow) * np.log1p(_MU * np.abs(narrow)) / np.log1p(_MU)
    steps = np.round(companded * 127) / 127
    heard = np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU
    if lost_one_in:
        packets = np.random.default_rng(seed).integers(0, lost_one_in, len(heard) // 160 + 1)
        heard = heard * (np.repeat(packets, 160)[: len(heard)] > 0)
    return Resampler(_TELEPHONE_RATE, SAMPLE_RATE).feed(heard.astype(np.float32), is_last=True)


def over(first: Sound, second: Sound, after_s: float, quieter_db: float = 0) -> Sound:
    """The second begins so long after the first, and both go on, the second more quietly."""
    start = round(after_s * SAMPLE_RATE)
    both = np.zeros(max(len(first), start + len(second)), np.float32)
    both[: len(first)] += first
    both[start : start + len(second)] += second * np.float32(10 ** (-quieter_db / 20))
    return both


def loud(sound: NDArray[np.floating], level: float) -> Sound:
    """The sound with that RMS."""
    return np.asarray(np.clip(sound * (level / np.sqrt(np.mean(np.square(sound)))), -1, 1), np.float32)


def as_loud(sound: Sound, other: Sound) -> Sound:
    """The sound, as loud on the whole as the other."""
    return loud(sound, float(np.sqrt(np.mean(np.square(other)))))


def _phase(hz: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
    return 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE


def _pulses(hz: NDArray[np.floating]) -> NDArray[np.float64]:
    """What vocal folds of that pitch give: a pulse whenever a turn is over."""
    turns = np.floor(np.cumsum(hz) / SAMPLE_RATE)
    return np.diff(turns, prepend=0) * np.sqrt(SAMPLE_RATE / hz)


def _spoken_by(source: NDArray[np.floating], speech: Sound) -> NDArray[np.float64]:
    """Say with another source what is said in `speech`, as long as the source lasts: a vocoder by cepstra."""
    window, n = np.hanning(_FRAME), len(source)
    result = np.zeros(n + _FRAME)
    for start in range(0, n, _HOP):
        at = round(start / n * len(speech))
        log_spectrum = np.log(np.abs(np.fft.rfft(window * _piece(speech, at))) + 1e-5)
        cepstrum = np.fft.irfft(log_spectrum)
        cepstrum[_MOUTH_CEPSTRUM : len(cepstrum) - _MOUTH_CEPSTRUM + 1] = 0
        mouth = np.exp(np.fft.rfft(cepstrum).real)
        result[start : start + _FRAME] += window * np.fft.irfft(np.fft.rfft(window * _piece(source, start)) * mouth)
    return result[:n]


def _piece(sound: NDArray[np.floating], start: int) -> NDArray[np.floating]:
    piece = sound[start : start + _FRAME]
    return np.concatenate([piece, np.zeros(_FRAME - len(piece), piece.dtype)])
