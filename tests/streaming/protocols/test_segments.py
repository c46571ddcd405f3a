"""Words as segments: all of them, in order, in spans that never overlap."""

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import Word
from streaming.protocols.segments import Segment, Segments

_TEXTS = (" one", " two.", " three", ".", ' "four', "?", "。", "五", " ", '"')


@st.composite
def told(draw: st.DrawFn) -> list[tuple[list[Word], int]]:
    words = st.builds(
        Word,
        st.sampled_from(_TEXTS),
        st.floats(0, 60),
        st.floats(0, 60),
        st.just(0.5),
        st.sampled_from((None, "en", "de")),
    )
    utterances = sorted(draw(st.lists(st.integers(1, 3), max_size=8)))
    return [(draw(st.lists(words, min_size=1, max_size=5)), utterance) for utterance in utterances]


@given(told=told())
def test_no_word_is_lost_and_no_span_overlaps(told: list[tuple[list[Word], int]]) -> None:
    segments, closed = Segments(), list[Segment]()
    spans = dict[int, tuple[int, int]]()
    for words, utterance in told:
        before = segments.open
        touched = segments.feed(words, utterance)
        assert touched[-1] is segments.open
        assert before in (None, touched[0]) or before in closed or touched[0].start_ms >= before.end_ms
        closed += [each for each in touched if each not in closed]
        for each in touched:
            start_ms, end_ms = spans.get(id(each), (each.start_ms, 0))
            assert start_ms == each.start_ms < each.end_ms >= end_ms
            spans[id(each)] = (each.start_ms, each.end_ms)
    assert "".join(each.text for each in closed) == "".join(word.text for words, _ in told for word in words)
    assert all(one.end_ms <= other.start_ms for one, other in itertools.pairwise(closed))


def texts(*words: Word | str, utterances: tuple[int, ...] = ()) -> list[str]:
    segments, found = Segments(), list[Segment]()
    for n, word in enumerate(words):
        each = word if isinstance(word, Word) else Word(word, float(n), n + 0.5, 1.0)
        found += [new for new in segments.feed([each], utterances[n] if utterances else 1) if new not in found]
    return [each.text for each in found]


def test_a_segment_is_a_sentence_with_the_punctuation_that_comes_late() -> None:
    assert texts(" He", " said", ".", '"', " Then", " he", " left.") == [' He said."', " Then he left."]
    assert texts("你好", "。", "再见") == ["你好。", "再见"]


def test_another_utterance_another_language_and_much_text_are_segments_of_their_own() -> None:
    assert texts(" one", " two", utterances=(1, 2)) == [" one", " two"]
    word = Word(" one", 0.0, 0.5, 1.0, "en")
    assert texts(word, replace(word, text=" zwei", language="de")) == [" one", " zwei"]
    assert texts(word, replace(word, text=" late", start_s=15.0, end_s=15.2)) == [" one", " late"]
