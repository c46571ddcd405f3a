"""Words in, captions out; what others make of them."""

from fractions import Fraction

import pysubs2
import pytest

from simul_whisper import Word
from streaming.events import Ended, Event, Language, SpeechEnded
from streaming.output.cues import CaptionOptions
from streaming.output.formats import CAPTION_FORMATS, open_format
from tests.streaming.output.words import TALK, said, words_of
from tests.streaming.output.written import paragraphs, shown, text_of, ttml_of

FLASHING = CaptionOptions(min_cue_s=0)


def test_srt() -> None:
    assert text_of("srt", TALK, captions=FLASHING) == (
        "1\n00:00:00,000 --> 00:00:01,500\nThe tide is a wave.\n\n2\n00:00:01,500 --> 00:00:02,300\nIt travels.\n\n"
    )


def test_vtt_is_escaped() -> None:
    talk: list[Event] = [said(*words_of("a<b --> c&d.", start_s=3661.5))]
    assert text_of("vtt", talk) == ("WEBVTT\n\n1\n01:01:01.500 --> 01:01:02.500\na&lt;b --&gt; c&amp;d.\n\n")


@pytest.mark.parametrize("name", CAPTION_FORMATS)
def test_a_caption_is_written_when_it_is_closed(name: str) -> None:
    written = open_format(name)
    told = written.feed(said(*words_of("It is rather late. And")))
    assert "It is rather late." in told
    assert "And" not in told
    assert "And" in written.feed(SpeechEnded(2.0))


# What others read

SPEECH: list[Event] = [
    said(*words_of("Where the tide is a wave & travels far, nobody has to wait long for it. So")),
    said(*words_of("they say.", start_s=5.0)),
    SpeechEnded(5.6),
    said(*words_of("Yes.", start_s=3725.5)),
    Ended(3726.0),
]
CUES = [
    (0, 4800, ["Where the tide is a wave & travels far,", "nobody has to wait long for it."]),
    (4800, 5800, ["So they say."]),
    (3725500, 3726500, ["Yes."]),
]


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_pysubs2_reads_the_captions(name: str) -> None:
    read = pysubs2.SSAFile.from_string(text_of(name, SPEECH), format_=name)
    found = [(each.start, each.end, each.plaintext.split("\n")) for each in read]
    # It leaves WebVTT's escapes as they are.
    ampersand = "&amp;" if name == "vtt" else "&"
    assert found == [(start, end, [line.replace("&", ampersand) for line in lines]) for start, end, lines in CUES]


def test_ttconv_reads_the_captions(caplog: pytest.LogCaptureFixture) -> None:
    document = ttml_of(text_of("ttml", SPEECH, language="en"), caplog)
    body = document.get_body()
    assert body is not None
    assert document.get_lang() == "en"
    assert [region.get_id() for region in document.iter_regions()] == ["bottom"]
    found = [(each.get_begin() or 0, each.get_end(), shown(each).split("\n")) for each in paragraphs(body)]
    assert found == [(Fraction(start, 1000), Fraction(end, 1000), lines) for start, end, lines in CUES]


def test_ttml_of_silence_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    body = ttml_of(text_of("ttml", [said(), Ended(3.0)]), caplog).get_body()
    assert body is not None
    assert not paragraphs(body)


def test_ttml_is_in_the_language_of_the_text(caplog: pytest.LogCaptureFixture) -> None:
    translated = said(Word(" Tide.", 0.0, 1.5, 0.9, "en"))
    assert ttml_of(text_of("ttml", [Language("de"), translated], language="de"), caplog).get_lang() == "en"


def test_ttml_is_whole_with_its_tail_at_any_time(caplog: pytest.LogCaptureFixture) -> None:
    written, text = open_format("ttml"), ""
    for event in SPEECH:
        text += written.feed(event)
        if text:
            ttml_of(text + written.tail, caplog)
    assert written.tail == written.end() == ""
