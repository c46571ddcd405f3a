"""What a model hears of speech that a voice has made, beside the text that the voice was given."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, from_s16
from streaming.audio.pcm import Resampler
from streaming.evaluation.results import decoded_whole
from streaming.evaluation.scoring import Edits, edits, normalised
from streaming.events import Event, Spoken

# Around sentences, as for a listener. A model that hears sound end in the middle of a breath invents what follows.
_SILENCE = np.zeros(SAMPLE_RATE // 2, np.float32)
# The normaliser writes the numerals of English as figures, but for this one, which may be a pronoun. Both sound alike.
_ONE = re.compile(r"\bone\b")


@dataclass(frozen=True)
class HeardAgain:
    """Of one text of a recording: what was said of it, and what was heard. clip: the recording's id."""

    clip: str
    said: str
    heard: str
    edits: Edits


def hear_again(
    clip: str, told: Sequence[Event], target: str, language: str, model: Model, config: AlignAttConfig
) -> HeardAgain:
    """Decode the speech of a target, all of it that was told for a recording, as a whole.

    language: that it is spoken in. config: how the model decodes; not what, or into what.
    """
    spoken = [event for event in told if isinstance(event, Spoken) and event.target == target]
    unguided: dict[str, Any] = {"init_prompt": "", "static_init_prompt": "", "terms": ()}
    plain = replace(config, language=language, task="transcribe", targets=(), **unguided)
    words = decoded_whole(np.concatenate([*_sound(spoken), _SILENCE]), model, plain)
    said = " ".join(event.text for event in spoken if event.text)
    heard = "".join(word.text for word in words).strip()
    return HeardAgain(clip, said, heard, edits(_as_it_sounds(said, language), _as_it_sounds(heard, language), language))


def again_figures(heard: Sequence[HeardAgain]) -> dict[str, Any]:
    """Return what bench tells of it: errors for each 100 words (or characters) said, and the texts themselves."""
    rate = sum((each.edits for each in heard), Edits()).rate
    return {
        "wer_again": None if rate is None else round(100 * rate, 2),
        "heard_again": [asdict(each) for each in heard],
    }


def _as_it_sounds(text: str, language: str) -> str:
    plain = normalised(text, language)
    return _ONE.sub("1", plain) if language == "en" else plain


def _sound(spoken: Iterable[Spoken]) -> Iterator[NDArray[np.float32]]:
    """Yield float32 (n,) at 16 kHz in [-1, 1]."""
    resampler: Resampler | None = None
    for event in spoken:
        if resampler is None:
            yield _SILENCE
        if resampler is None or resampler.rate != event.rate:
            resampler = Resampler(event.rate, SAMPLE_RATE)
        yield resampler.feed(from_s16(event.pcm), is_last=event.is_last)
        if event.is_last:
            resampler = None
