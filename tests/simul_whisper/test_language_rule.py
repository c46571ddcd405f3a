"""The rule that decides on a language, pass by pass: which passes count, and when a decision falls or is revised."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from simul_whisper.language_detection import Heard, LanguageRule, loud_s
from tests.sounds import noise, silence

LANGUAGES = ("en", "de", "ca", "es")


def rule(languages: Sequence[str] = LANGUAGES) -> LanguageRule:
    return LanguageRule(languages, 1.0)


def heard(
    likely: Mapping[str, float], audio_s: float, speech_s: float | None = None, *, is_full: bool = False
) -> Heard:
    rest = (1 - sum(likely.values())) / (len(LANGUAGES) - len(likely))
    logprobs = np.log([likely.get(language, rest) for language in LANGUAGES], dtype=np.float32)
    return Heard(logprobs, audio_s, audio_s if speech_s is None else speech_s, is_full)


def decided(after: LanguageRule, *passes: Heard) -> list[str | None]:
    """The language after each pass; where one must be chosen, the likeliest is."""
    found = []
    for each in passes:
        candidates = after.hear(each, final=False)
        if candidates:
            after.choose(candidates[0])
        found.append(after.language)
    return found


def english() -> LanguageRule:
    """A rule that has heard an utterance in English, and waits for the next one."""
    known = rule()
    decided(known, heard({"en": 0.98}, 2.0), heard({"en": 0.99}, 8.0))
    known.restart()
    return known


def test_a_clear_language_is_decided_after_a_second() -> None:
    assert decided(rule(), heard({"de": 0.97}, 0.9), heard({"de": 0.96}, 1.0)) == [None, "de"]


def test_the_more_is_heard_the_less_is_clear_enough() -> None:
    assert decided(rule(), heard({"de": 0.7}, 1.0), heard({"de": 0.7}, 1.6)) == [None, "de"]


def test_silence_does_not_count() -> None:
    assert decided(rule(), heard({"de": 0.95}, 8.0, 0.0), heard({"de": 0.95}, 9.0, 0.4)) == [None, None]


def test_one_pass_that_errs_is_outvoted() -> None:
    passes = [heard({"en": 0.75, "ca": 0.05}, 1.0), heard({"ca": 0.93, "en": 0.01}, 1.2), heard({"en": 0.95}, 1.4)]
    assert decided(rule(), *passes) == [None, None, "en"]


def test_what_never_gets_clear_is_chosen_among_the_likeliest() -> None:
    unsure = rule()
    assert unsure.hear(heard({"ca": 0.45, "en": 0.35, "es": 0.15}, 1.9), final=False) == []
    assert unsure.hear(heard({"ca": 0.45, "en": 0.35, "es": 0.15}, 3.0), final=False) == ["ca", "en", "es"]
    unsure.choose("en")
    assert unsure.language == "en"
    unsure.restart()
    assert unsure.language == "en"


def test_a_guess_at_the_end_of_a_short_utterance_is_open_again_in_the_next() -> None:
    unsure = rule()
    unsure.choose(unsure.hear(heard({"ca": 0.95}, 0.8), final=True)[0])
    assert unsure.language == "ca"
    unsure.restart()
    assert unsure.language is None


def test_an_early_decision_is_revised_when_more_is_heard() -> None:
    passes = [heard({"es": 0.95, "ca": 0.03}, 2.0), *(heard({"ca": 0.96, "es": 0.03}, s) for s in (3.0, 4.0, 5.0))]
    assert decided(rule(), *passes) == ["es", "es", "ca", "ca"]


def test_an_early_decision_that_is_contradicted_is_open_again() -> None:
    passes = [heard({"es": 0.9, "ca": 0.05}, 1.0), heard({"ca": 0.5, "en": 0.499}, 1.9)]
    early = rule()
    assert decided(early, *passes) == ["es", None]
    assert early.hear(heard({"ca": 0.5, "en": 0.49}, 3.0), final=False)[:2] == ["ca", "en"]


def test_an_early_decision_that_gets_unclear_is_taken_again_in_the_end() -> None:
    misled = rule()
    assert decided(misled, heard({"es": 0.95, "ca": 0.03}, 2.0)) == ["es"]
    assert not misled.is_unsure
    assert decided(misled, heard({"ca": 0.6, "es": 0.3}, 3.0)) == ["es"]
    assert misled.is_unsure
    assert misled.hear(heard({"ca": 0.6, "es": 0.3}, 4.0), final=True)[:2] == ["es", "ca"]
    misled.choose("ca")
    assert (misled.language, misled.is_listening, misled.is_unsure) == ("ca", False, False)


def test_after_eight_seconds_the_likeliest_is_right() -> None:
    misled = rule()
    passes = [heard({"es": 0.95, "ca": 0.03}, 2.0), *(heard({"ca": 0.7, "es": 0.1}, s) for s in (3.0, 4.0, 8.0))]
    assert decided(misled, *passes) == ["es", "es", "es", "ca"]
    assert not misled.is_listening


def test_after_eight_seconds_of_anything_it_goes_on_listening() -> None:
    unsure = rule()
    first = heard({"es": 0.95, "ca": 0.03}, 2.0)
    assert decided(unsure, first, *[heard({"ca": 0.3, "en": 0.3}, s) for s in (3.0, 4.0, 9.0)])[-1] == "es"
    assert decided(unsure, heard({"ca": 0.9}, 10.0), heard({"ca": 0.9}, 11.0))[-1] == "ca"


def test_a_window_full_of_speech_decides_with_less() -> None:
    """Nothing better comes for a while: the windows after it are shorter."""
    unsure = rule()
    passes = [heard({"es": 0.95, "ca": 0.03}, 2.0), *(heard({"ca": 0.45, "en": 0.3}, s) for s in (3.0, 4.0, 5.0, 9.0))]
    assert decided(unsure, *passes)[-1] == "es"
    assert decided(unsure, heard({"ca": 0.45, "en": 0.3}, 12.0, is_full=True)) == ["ca"]
    assert not unsure.is_listening


def test_a_full_window_of_anything_decides_nothing() -> None:
    unsure = rule()
    passes = [heard({"es": 0.35, "ca": 0.3}, 5.0), *[heard({"ca": 0.3, "en": 0.3}, 12.0, is_full=True)] * 4]
    assert decided(unsure, *passes)[-1] == "es"
    assert decided(unsure, *[heard({"de": 0.97}, 9.0)] * 2)[-1] == "de"


def test_after_eight_seconds_nothing_more_is_asked() -> None:
    settled = rule()
    decided(settled, heard({"en": 0.98}, 2.0), heard({"en": 0.98}, 8.0))
    assert not settled.is_listening
    settled.restart()
    assert settled.is_listening


def test_what_is_given_is_never_asked() -> None:
    given = rule(["ca"])
    given.restart()
    assert (given.language, given.is_listening, given.is_doubtful) == ("ca", False, False)


def test_the_same_language_again_does_not_wait() -> None:
    known = english()
    decided(known, heard({"en": 0.4, "de": 0.5}, 1.0))
    assert (known.language, known.is_doubtful) == ("en", False)
    decided(known, heard({"en": 0.98}, 2.0), heard({"en": 0.99}, 3.0))
    assert not known.is_listening


def test_another_language_is_waited_for_and_then_believed() -> None:
    known = english()
    assert decided(known, heard({"de": 0.97}, 1.0)) == ["en"]
    assert known.is_doubtful
    assert decided(known, heard({"de": 0.97}, 2.0)) == ["de"]
    assert not known.is_doubtful


@pytest.mark.parametrize(("probability", "final"), [(0.99, True), (0.8, False)])
def test_neither_a_short_answer_nor_a_doubt_changes_the_language(probability: float, final: bool) -> None:
    known = english()
    known.hear(heard({"de": probability}, 1.0), final=final)
    if not final:
        decided(known, heard({"de": probability}, 2.0), heard({"de": probability}, 3.0))
    assert (known.language, known.is_doubtful) == ("en", False)


def test_nothing_waits_at_the_end_of_an_utterance() -> None:
    known = english()
    known.hear(heard({"de": 0.97}, 1.0), final=False)
    assert known.is_doubtful
    known.hear(heard({"de": 0.97}, 1.2, 0.0), final=True)
    assert (known.language, known.is_doubtful) == ("en", False)


def test_before_audio_is_let_go_unwritten_a_language_is_chosen() -> None:
    unsure, sparse = rule(), {"ca": 0.4, "es": 0.3}
    assert unsure.hear(heard(sparse, 11.0, 1.9), final=False) == []
    assert unsure.hear(heard({}, 12.0, 0.0, is_full=True), final=False) == []
    assert unsure.hear(heard(sparse, 12.0, 1.9, is_full=True), final=False)[:2] == ["ca", "es"]


def test_a_full_window_of_speech_settles_what_is_likely() -> None:
    settled = rule()
    decided(settled, heard({"en": 0.98}, 2.0), heard({"en": 0.98}, 3.5, is_full=True))
    assert (settled.language, settled.is_listening) == ("en", False)


def test_silence_after_an_early_decision_revises_nothing() -> None:
    early = rule()
    decided(early, heard({"en": 0.98}, 2.0), *[heard({"de": 0.97}, 4.0 + n, 0.0) for n in range(5)])
    assert early.language == "en"
    assert early.hear(heard({"de": 0.97}, 9.0, 0.0), final=True) == []
    assert (early.language, early.is_listening) == ("en", False)


@pytest.mark.parametrize("speech_s", [0.0, 1.0])
def test_nothing_waits_when_the_window_is_full(speech_s: float) -> None:
    known = english()
    decided(known, heard({"de": 0.85, "en": 0.01}, 1.0))
    assert known.is_doubtful
    decided(known, heard({"de": 0.85, "en": 0.01}, 12.0, speech_s, is_full=True))
    assert (known.language, known.is_doubtful) == ("en", False)


def test_how_long_it_is_loud() -> None:
    assert loud_s(silence(3)) == loud_s(silence(0)) == 0
    assert loud_s(noise(3)) == 3
    assert loud_s(np.concatenate([silence(4), noise(1), noise(1, 0.001), noise(0.5)])) == pytest.approx(1.5)
