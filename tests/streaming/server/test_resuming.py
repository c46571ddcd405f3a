"""Coming back to a real server after the connection was lost: every event once, or a refusal that says why."""

from typing import Any

import pytest

from streaming.events import Ended, Flushed
from streaming.protocols.native import Numbered, Refused, Resume, client_text
from tests.streaming.serving import Served, Talker, text_of
from tests.streaming.talk import AUDIO, END, FLUSH, HELLO, PIECES, SPEECH


def resumed(served: Served, session: str, sent_bytes: int, seen: int) -> Talker:
    talker = Talker(served).__enter__()
    talker.say(client_text(Resume(session, sent_bytes, seen)))
    return talker


@pytest.mark.parametrize("n_pieces_first", [1, 30, len(PIECES)])
def test_a_cut_connection_comes_back_and_gets_every_event_once(served: Served, n_pieces_first: int) -> None:
    with Talker(served) as first:
        first.say(HELLO)
        session = first.ready().session
        first.say(*PIECES[:n_pieces_first])
        events = list[Any]()
        while n_pieces_first >= 30 and not events:
            message = first.next()
            events += [message] if isinstance(message, Numbered) else []
        first.cut()
    sent = len(b"".join(PIECES[:n_pieces_first]))
    with resumed(served, session, sent, len(events)) as second:
        ready = second.ready()
        assert ready.session == session
        second.say(AUDIO[ready.received_bytes :], END)
        events += second.rest()
    assert [each.seq for each in events] == [*range(1, len(events) + 1)]
    assert text_of(events) == SPEECH.text
    assert isinstance(events[-1].event, Ended)


def test_the_last_events_can_be_had_again(served: Served) -> None:
    with Talker(served) as first:
        first.say(HELLO)
        session = first.ready().session
        first.say(AUDIO, END)
        messages = first.rest()
    for seen in (0, 5, len(messages)):
        with resumed(served, session, len(AUDIO), seen) as again:
            assert again.ready().has_end
            assert again.rest() == messages[seen:]
            assert again.close_code == 1000


def test_a_connection_that_hangs_is_replaced(served: Served) -> None:
    with Talker(served) as first:
        first.say(HELLO)
        session = first.ready().session
        with resumed(served, session, 0, 0) as second:
            second.ready()
            assert [each.reason.value for each in first.rest() if isinstance(each, Refused)] == ["replaced"]
            second.say(AUDIO, END)
            assert text_of(second.rest()) == SPEECH.text


def test_what_cannot_be_come_back_to_is_told(served: Served) -> None:
    def refusal(session: str, sent_bytes: int, seen: int) -> str:
        with resumed(served, session, sent_bytes, seen) as talker:
            (refused,) = talker.rest()
            assert isinstance(refused, Refused)
            return refused.reason.value

    with Talker(served) as first:
        first.say(HELLO)
        session = first.ready().session
        first.say(AUDIO, END)
        messages = first.rest()
    n = len(messages)
    assert refusal("nobody", 0, 0) == "unknown_session"
    assert refusal(session, 5, n) == "bad_value"
    assert refusal(session, len(AUDIO), n + 1) == "bad_value"
    with resumed(served, session, len(AUDIO), 0) as again:
        again.ready()
        again.rest()
    with Talker(served) as other:
        other.say(HELLO, AUDIO, FLUSH)
        other_session = other.ready().session
        while not (isinstance(message := other.next(), Numbered) and isinstance(message.event, Flushed)):
            pass
        other.say('{"type": "ack", "seen": 2}', END)
        other.rest()
    assert refusal(other_session, len(AUDIO), 1) == "resume_gap"
