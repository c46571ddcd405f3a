"""The audio that a client keeps, to say it again: against all that was ever written to it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streaming.replay.audio_buffer import AudioBuffer


@given(st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 30), st.sampled_from(["back", "forget", "shorten"]))))
def test_a_tape_plays_everything_in_order_from_any_kept_position(acts: list[Any]) -> None:
    tape, written, played = AudioBuffer(), b"", b""
    for act in acts:
        if isinstance(act, bytes):
            tape.write(act)
            written += act
        elif isinstance(act, int):
            played = written[: tape.cursor] + tape.play(act)
        elif act == "back":
            tape.rewind((tape.start + tape.cursor) // 2)
        elif act == "forget":
            tape.forget((tape.start + tape.cursor) // 2)
        else:
            tape.shorten(10)
            assert tape.n_kept <= 10
        played = written[: tape.cursor]
        assert (tape.end, tape.n_unsent) == (len(written), len(written) - tape.cursor)
        assert tape.start <= tape.cursor
    tape.rewind(tape.start)
    assert tape.play(len(written)) == written[tape.start :]
    assert played == written[: len(played)]
