"""From a device to captions, with a device, a clock and a session in the test's hands."""

import io
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from simul_whisper import Word
from streaming.audio.capture import Capture, Inbox
from streaming.events import Failed, Reason, Recognised, Words
from streaming.output.durable import DurableText
from streaming.output.formats import open_format
from streaming.output.live_captions import Record, listen
from streaming.output.terminal import PlainCaptions
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox
from streaming.settings import PcmFormat


class Microphone:
    """Opens as a device that the test speaks for."""

    name, pcm_format = "fake", PcmFormat()

    def __call__(self, inbox: Inbox) -> "Microphone":
        self.inbox = inbox
        return self

    def close(self) -> None: ...


class Room:
    """All that `listen` needs; what happens in each of its turns is a script."""

    def __init__(self) -> None:
        self.microphone = Microphone()
        self.capture = Capture(self.microphone, clock=lambda: 0.0)
        self.inbox = AudioInbox(16_000, lambda: 0.0)
        self.handle = ThreadHandle(self.inbox, wake=lambda: None)
        self.out, self.err = io.StringIO(), io.StringIO()

    def listen(self, *script: Callable[[], object], record: Record | None = None) -> bool:
        steps: Iterator[Callable[[], object]] = iter(script)

        def is_stopped() -> bool:
            step = next(steps, None)
            if step is None:
                self.handle.tell([Recognised(1.0)])
                return True
            step()
            return False

        captions = PlainCaptions(open_format("text"), self.out, self.err)
        return listen(self.capture, self.handle, captions, is_stopped, [record] if record else [])

    def speak(self, n_samples: int) -> None:
        self.microphone.inbox.put(bytes(2 * n_samples))

    def say(self, text: str) -> None:
        self.handle.tell([Words((Word(" " + text, 0.0, 1.0, 0.9),), heard_s=1.0)])
        # So that the turn does not wait for the device.
        self.speak(160)


def test_audio_goes_in_and_words_come_out() -> None:
    room = Room()
    ended_well = room.listen(lambda: room.speak(1600), lambda: room.say("one"), lambda: room.say("two"))
    pulled = room.inbox.pull(16_000)
    assert ended_well
    assert room.out.getvalue() == "one two\n"
    assert pulled is None or len(pulled.samples) == 1600 + 320


def test_a_device_that_cannot_wait_overruns_the_oldest_audio() -> None:
    room = Room()
    room.listen(lambda: room.speak(40_000))
    pulled = room.inbox.pull(16_000)
    assert pulled is not None
    assert (len(pulled.samples), pulled.n_lost) == (16_000, 24_000)


def test_a_lost_device_is_told_and_the_captions_go_on() -> None:
    room = Room()
    assert room.listen(lambda: room.microphone.inbox.close("it stopped"), lambda: room.say("one"))
    assert "fake is lost: it stopped" in room.err.getvalue()
    assert room.out.getvalue() == "one\n"


def test_a_session_that_fails_ends_it_badly() -> None:
    room = Room()
    assert not room.listen(lambda: room.say("one"), lambda: room.handle.tell([Failed(Reason.ENGINE, "it is broken")]))
    assert room.out.getvalue() == "one\n"
    assert "it is broken" in room.err.getvalue()


def test_a_full_disk_is_told_once_and_the_captions_go_on(tmp_path: Path) -> None:
    room, path = Room(), tmp_path / "captions.txt"
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = DurableText(path)
    record = Record(file, open_format("text"))

    def limit(n_bytes: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, unlimited[1]))

    try:
        assert room.listen(
            lambda: room.say("one"),
            limit(5),
            *[lambda: room.say("two"), lambda: room.say("three")],
            record=record,
        )
        assert record.is_broken
        assert path.read_text() == "one"
        assert room.out.getvalue() == "one two three\n"
        assert room.err.getvalue().count("captions.txt") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert record.feed(Words((), heard_s=1.0)) == f"{path}: written again, nothing is missing"
    assert path.read_text() == "one two three\n"
    file.close()


@pytest.mark.parametrize("name", ["srt", "vtt", "ttml", "jsonl", "words-jsonl"])
def test_a_file_is_whole_after_every_turn(name: str, tmp_path: Path) -> None:
    room, path = Room(), tmp_path / "captions"
    file = DurableText(path)
    sizes: list[int] = []

    def look() -> None:
        room.speak(160)
        sizes.append(path.stat().st_size)
        if name == "ttml":
            ElementTree.parse(path)

    room.listen(
        *[step for text in ("One.", "Two.") for step in (lambda text=text: room.say(text), look)],
        record=Record(file, open_format(name)),
    )
    assert 0 < sizes[0] < sizes[1] == path.stat().st_size
    file.close()
