"""What guards are tried on: speech that looks like a failure and is none, and sounds that look like speech."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.guards import sounds
from scripts.guards.sounds import Sound, silence
from simul_whisper import SAMPLE_RATE
from streaming.audio.files import read_audio
from streaming.audio.pcm import Resampler
from streaming.evaluation.manifest import load_manifest

RECORDINGS = Path(__file__).parents[2] / "demos" / "recordings"
_TUNE_HZ = (220.0, 247.0, 262.0, 294.0, 262.0, 247.0)

Speak = Callable[[str], Sound]
"""Says an English text in the voice of the recordings: float32 (n,) mono 16 kHz."""


@dataclass(frozen=True)
class Case:
    """A sound, and the words that are said in it; none may come out of one where nobody speaks."""

    name: str
    sound: Sound
    said: str


def cases(speak: Speak) -> Iterator[Case]:
    """Make all of them, one after the other."""
    yield from _repeated(speak)
    yield from _counted(speak)
    yield from _disguised()
    yield from _together(speak)
    yield from _not_speech()


def _repeated(speak: Speak) -> Iterator[Case]:
    phrase, pause = speak("Please hold the line."), silence(1.5)
    yield Case("no, ten times", speak("No, " * 9 + "no."), "no " * 10)
    yield Case("yes, twelve times, one by one", _in_turn([speak("Yes.")] * 12, silence(0.4)), "yes " * 12)
    yield Case("a sentence five times on end", _in_turn([phrase] * 5, silence(0.15)), "Please hold the line. " * 5)
    yield Case("a sentence six times, with pauses", _in_turn([phrase] * 6, pause), "Please hold the line. " * 6)
    refrain = "Row, row, row your boat, gently down the stream. "
    refrain += "Merrily, merrily, merrily, merrily, life is but a dream."
    yield Case("a refrain, twice", speak(f"{refrain} {refrain}"), f"{refrain} {refrain}")
    waltz = "One, two, three. " * 6
    yield Case("one, two, three, six times", speak(waltz), waltz)


def _counted(speak: Speak) -> Iterator[Case]:
    up = (
        "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen, "
        "sixteen, seventeen, eighteen, nineteen, twenty."
    )
    down = "Ten. Nine. Eight. Seven. Six. Five. Four. Three. Two. One. Zero."
    yield Case("counted to twenty", speak(up), up)
    yield Case("counted down, a number a second", _in_turn(map(speak, down.split()), silence(0.6)), down)
    code = "The code is zero, zero, zero, zero, zero, zero, zero, seven."
    yield Case("seven zeros and a seven", speak(code), code)


def _disguised() -> Iterator[Case]:
    said, speech = _recording("captions")
    yield Case("sung", sounds.sung(speech, _TUNE_HZ), said)
    yield Case("whispered", sounds.whispered(speech), said)
    yield Case("over the telephone", sounds.telephone(speech), said)
    yield Case("over the telephone, one packet in 20 lost", sounds.telephone(speech, 20), said)
    duration_s = len(speech) / SAMPLE_RATE
    noise, music = sounds.noise(duration_s, 1), sounds.music(duration_s)
    yield Case("in noise half as loud", sounds.over(speech, sounds.as_loud(noise, speech), 0, 6), said)
    yield Case("over music half as loud", sounds.over(speech, sounds.as_loud(music, speech), 0, 6), said)


def _together(speak: Speak) -> Iterator[Case]:
    said, speech = _recording("captions")
    other = _higher(speak("I went to the market this morning and bought apples, bread, and a bottle of milk."))
    other = sounds.as_loud(other, speech)
    yield Case("two speakers, one a third as loud", sounds.over(speech, other, 2, 10), said)
    yield Case("two speakers, as loud as each other", sounds.over(speech, other, 2), said)
    said, speech = _recording("kettle")
    yield Case("a sentence, applause, two sentences", sounds.over(speech, sounds.applause(5), 3.5), said)
    yield Case("a sentence, laughter, two sentences", sounds.over(speech, sounds.laughter(5), 3.5), said)
    said = "Please hold the line. Your call is important to us."
    waiting = [piece for seed in range(3) for piece in (sounds.music(8, seed), speak(said))]
    sound = _in_turn([*waiting, sounds.music(4, 3)], silence(0.3))
    yield Case("hold music and the same words, three times", sound, f"{said} " * 3)


def _not_speech() -> Iterator[Case]:
    yield Case("hold music", sounds.music(20), "")
    yield Case("a telephone that rings", sounds.ringing(16), "")
    yield Case("applause", sounds.applause(12), "")
    yield Case("laughter", sounds.laughter(12), "")
    yield Case("a higher laughter", sounds.laughter(12, 320, 1), "")
    yield Case("hiss", sounds.noise(15, 0.003), "")
    yield Case("loud noise", sounds.noise(15, 0.3), "")
    yield Case("silence", silence(20), "")


def _recording(name: str) -> tuple[str, Sound]:
    clip = next(clip for clip in load_manifest(RECORDINGS) if clip.id == name)
    assert clip.transcript
    return clip.transcript, read_audio(clip.path)


def _in_turn(pieces: Iterable[Sound], pause: Sound) -> Sound:
    return np.concatenate([part for piece in pieces for part in (piece, pause)])


def _higher(speech: Sound) -> Sound:
    """The voice of somebody smaller, who speaks faster."""
    return Resampler(SAMPLE_RATE * 6 // 5, SAMPLE_RATE).feed(speech, is_last=True)
