"""Decoders that are less than Whisper's: with fewer positions, or for whole windows only."""

from collections.abc import Iterator, Sequence

import pytest

from simul_whisper import Answer, Ask, ConfigError, StopReason, finished
from simul_whisper.decoders import Limits, Step
from simul_whisper.encoders import Features
from simul_whisper.pieces import Encode
from tests.listener import MODEL, Samples, assert_heard, every, listen, listener
from tests.tones import ToneDecoder, ToneState, random_words, speech_of, tone_model


class Limited(ToneDecoder):
    """Keeps how long texts became, and how many frames windows had."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(MODEL.tokenizer, "en")
        self.limits, self.longest, self.n_frames = limits, 0, set[int]()

    def begin(self, features: Features) -> ToneState:
        self.n_frames.add(len(features))
        return super().begin(features)

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = super().step(state, tokens, logits_at)
        self.longest = max(self.longest, *map(len, state.beams))
        return step


@pytest.mark.parametrize("n_positions", [60, 224])
@pytest.mark.parametrize("settings", [{}, {"decoder_type": "beam", "beam_size": 2}, {"init_prompt": "a b c " * 40}])
@pytest.mark.parametrize("chunk_s", [1, 7])
def test_with_few_positions_nothing_is_lost(n_positions: int, settings: dict[str, object], chunk_s: int) -> None:
    decoder = Limited(Limits(n_positions))
    speech = speech_of(random_words(100, n_positions))
    updates = listen(
        listener(tone_model(decoder=decoder), audio_max_len=30, **settings), every(chunk_s, speech.samples)
    )
    assert_heard(updates, speech)
    assert decoder.longest <= n_positions
    assert StopReason.LENGTH not in {update.stop for update in updates}


def test_a_decoder_with_fewer_positions_may_take_over_in_mid_stream() -> None:
    decoder, speech = Limited(Limits()), speech_of(random_words(100, 2))
    whisper = listener(tone_model(decoder=decoder), audio_max_len=30)

    def chunks() -> Iterator[Samples]:
        for n, chunk in enumerate(every(1, speech.samples)):
            if n == 25:
                decoder.limits, decoder.longest = Limits(60), 0
            yield chunk

    updates = listen(whisper, chunks())
    assert_heard(updates, speech)
    assert decoder.longest <= 60
    assert StopReason.LENGTH in {update.stop for update in updates}


def test_one_that_takes_over_while_the_last_window_is_read_costs_no_words() -> None:
    class Following(Limited):
        """Has limits once the last window has begun, as `FallbackDecoder` when one with limits follows."""

        def begin(self, features: Features) -> ToneState:
            state = super().begin(features)
            self.limits = Limits(40) if is_last else Limits()
            return state

    is_last = False
    speech = speech_of(random_words(60, 2))
    whisper = listener(tone_model(decoder=Following(Limits())), audio_max_len=30)
    *chunks, last = every(5, speech.samples)
    updates = []
    for chunk in chunks:
        whisper.insert_audio(chunk)
        updates.append(whisper.infer())
    is_last = True
    whisper.insert_audio(last)
    updates.append(whisper.infer(is_last=True))
    assert_heard(updates, speech)


def test_a_static_prompt_has_half_of_the_positions() -> None:
    model = tone_model(decoder=Limited(Limits(100)))
    listener(model, static_init_prompt="a " * 49)
    with pytest.raises(ConfigError, match="static_init_prompt of 50 tokens, expected at most 49"):
        listener(model, static_init_prompt="a " * 50)


def test_whole_windows_are_of_30_s_and_others_no_longer_than_is_heard() -> None:
    speech = speech_of(random_words(20, 1))
    whole, any_length = Limited(Limits(whole_windows=True)), Limited(Limits())
    for decoder in (whole, any_length):
        whisper = listener(tone_model(decoder=decoder), audio_max_len=5, padding_len=1, segment_length=1)
        assert_heard(listen(whisper, every(1, speech.samples)), speech)
    assert whole.n_frames == {1500}
    assert max(any_length.n_frames) == 300


def test_a_window_that_was_encoded_for_another_decoder_is_encoded_again() -> None:
    """Between two pieces of work, Core ML may take the place of another decoder."""
    decoder, speech = Limited(Limits()), speech_of(random_words(4, 1))
    whisper = listener(tone_model(decoder=decoder))
    whisper.insert_audio(speech.samples)

    def answer(ask: Ask) -> Answer:
        if isinstance(ask, Encode):
            decoder.limits = Limits(whole_windows=True)
        return whisper.model.answer(ask)

    assert finished(whisper.inference(is_last=True), answer).text == speech.text
    assert decoder.n_frames == {1500}
