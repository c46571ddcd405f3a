"""How long each word takes through each dialect, beside the native protocol, in one run of one server, as a table.

python scripts/dialect_delays.py [--model tiny.en] [--rounds 3] [--recording FILE]

A recording is streamed at the pace of speech, through one protocol after another, so that none waits for another. A
word's delay is the time from its end in the speech to the text that completes it; natively, the same bytes are sent in
the same settings. The exit status is 1 when a dialect tells other words, or takes more than 50 ms longer, unless that
is how the dialect has it.
"""

import argparse
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scripts.own_server import OwnServer
from simul_whisper import Word
from streaming.audio.files import read_audio
from streaming.events import Words
from streaming.protocols.catalogue import NAMES, PORTS
from streaming.protocols.dialect import End
from streaming.protocols.native import PATH, Numbered, client_text, parse_server
from streaming.sessions.request import SessionRequest
from tests.dialects import Call, Speaker, WebSocketCall
from tests.dialects.speakers import SPEAKERS
from tests.streaming.serving import s16

MOST_S = 0.05
PIECE_S = 0.1
RECORDING = Path(__file__).parents[1] / "demos" / "recordings" / "captions.flac"


class NativeCall(WebSocketCall):
    """words: what was told so far."""

    def __init__(self, port: int, request: SessionRequest) -> None:
        super().__init__(port, PATH)
        self.words = list[Word]()
        self.say(client_text(request))

    def send(self, data: bytes) -> None:
        self.say(data)

    def end(self) -> None:
        self.say(client_text(End()))

    def said(self) -> Iterator[str]:
        for message in self.heard():
            assert isinstance(message, str)
            told = parse_server(message)
            if isinstance(told, Numbered) and isinstance(told.event, Words):
                self.words += told.event.words
                yield told.event.text


@dataclass(frozen=True)
class Told:
    """text: all of it. times_s: when so many of its characters had been told, from when the first was spoken.

    seen_s: when so many stood where a reader sees them, never to change again, though the dialect calls them a draft.
    """

    text: str
    times_s: tuple[tuple[int, float], ...]
    seen_s: tuple[tuple[int, float], ...] = ()

    def as_seen(self) -> "Told":
        return Told(self.text, self.seen_s)

    def delays_s(self, words: Sequence[Word]) -> Iterator[float]:
        """Yield the delay of each word that has a sound."""
        n_chars = 0
        for word in words:
            n_chars += len(word.text)
            if word.is_spoken:
                yield next(at_s for n, at_s in self.times_s if n >= n_chars) - word.end_s


def told_by(call: Call, pieces: Sequence[bytes]) -> Told:
    """Speak the pieces at their pace, and listen."""
    began_at = time.monotonic()

    def speak() -> None:
        for n, piece in enumerate(pieces):
            time.sleep(max(0.0, began_at + (n + 1) * PIECE_S - time.monotonic()))
            call.send(piece)
        call.end()

    speaking = threading.Thread(target=speak)
    speaking.start()
    text, times_s = "", list[tuple[int, float]]()
    for new in call.said():
        text += new
        times_s.append((len(text), time.monotonic() - began_at))
    speaking.join()
    return Told(text, tuple(times_s), tuple(_settled(text, call, began_at)))


def n_alike(one: str, other: str) -> int:
    """Return with how many characters both begin."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _settled(text: str, call: Call, began_at: float) -> Iterator[tuple[int, float]]:
    """Yield how much of a text has stayed from which time on, of calls that tell what a reader sees."""
    seen, n_settled, settled = getattr(call, "seen", []), len(text), list[tuple[int, float]]()
    for at_s, state in reversed(seen):
        n_settled = min(n_settled, n_alike(state, text))
        settled.append((n_settled, at_s - began_at))
    return reversed(settled)


class Beside:
    """The delays of one dialect, and those of the native protocol beside it."""

    def __init__(self) -> None:
        self.native_s, self.dialect_s = list[float](), list[float]()
        self.is_same, self.may_be_late = True, False

    def add(self, native: Told, told: Told, words: Sequence[Word]) -> None:
        self.native_s += native.delays_s(words)
        self.dialect_s += told.delays_s(words)

    def row(self, name: str) -> str:
        cells = [f"{1000 * of(delays):.0f}" for delays in (self.native_s, self.dialect_s) for of in (median, p95)]
        more = f"{1000 * self.longer_s:+.1f}"
        words = len(self.dialect_s) if self.is_same else "others"
        return f"{name:28}" + "".join(f"{cell:>14}" for cell in (words, *cells, more))

    @property
    def is_well(self) -> bool:
        return self.is_same and (self.may_be_late or self.longer_s <= MOST_S)

    @property
    def longer_s(self) -> float:
        """How much longer the dialect takes, in the middle of all words."""
        return median(mine - native for mine, native in zip(self.dialect_s, self.native_s, strict=True))


def p95(values: Sequence[float]) -> float:
    return sorted(values)[round(0.95 * (len(values) - 1))]


def compare(server: OwnServer, speakers: Sequence[Speaker], recording: Path, n_rounds: int) -> dict[str, Beside]:
    pcm, found = s16(read_audio(recording)), defaultdict[str, Beside](Beside)
    server_ports = ports(server)
    for _ in range(n_rounds):
        for speaker in speakers:
            pieces = _pieces(speaker, pcm)
            with NativeCall(server.port, speaker.request) as call:
                native = told_by(call, pieces)
                words = call.words
            with speaker.call(server_ports) as dialect_call:
                told = told_by(dialect_call, pieces)
            name = type(speaker).__name__.removesuffix("Speaker")
            beside = found[name]
            beside.may_be_late = not speaker.tells_at_once
            beside.is_same &= told.text == native.text
            if told.text == native.text:
                beside.add(native, told, words)
            if not speaker.tells_at_once:
                found[f"{name}, as seen"].add(native, told.as_seen(), words)
    return found


def _pieces(speaker: Speaker, pcm: bytes) -> list[bytes]:
    audio = speaker.request.audio
    assert audio
    data, step = speaker.encoded(pcm), round(audio.rate * PIECE_S) * audio.bytes_per_frame
    return [data[at : at + step] for at in range(0, len(data), step)]


@dataclass
class Ports:
    port: int
    dialect_ports: dict[str, int]


def ports(server: OwnServer) -> Ports:
    """Return the ports that the server has said it listens at."""
    said = bytes(server.log).decode(errors="replace")
    return Ports(server.port, {name: int(port) for name, port in re.findall(r"([\w-]+) on 127\.0\.0\.1:(\d+)", said)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="tiny.en", help="of the server (default: tiny.en)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is measured (default: 1)")
    parser.add_argument("--recording", type=Path, default=RECORDING, help="what is said (default: ten seconds)")
    parser.add_argument("--only", metavar="NAME", help="the dialects of this name in the catalogue (default: all)")
    options = parser.parse_args()
    # What is uploaded is heard to its end before it is decoded; models that know English only translate nothing.
    is_english = options.model.endswith(".en")
    speakers = [each for each in SPEAKERS if each.speaks and not (each.request.targets and is_english)]
    speakers = [each for each in speakers if options.only in (None, each.name)]
    anywhere = ",".join(f"{name}=0" if name in PORTS else name for name in NAMES)
    server = OwnServer(["--model", options.model, "--language", "en", "--no-vad", "--dialects", anywhere])
    try:
        found = compare(server, speakers, options.recording, options.rounds)
    finally:
        server.kill()
    head = ("words", "native ms", "p95 ms", "dialect ms", "p95 ms", "longer by ms")
    print(f"{'dialect':28}" + "".join(f"{cell:>14}" for cell in head))
    for name, beside in found.items():
        print(beside.row(name))
    return 0 if all(each.is_well for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
