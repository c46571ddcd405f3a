"""A dialect without a server: what a client says is obeyed as far as that goes, and every answer is looked at."""

from collections.abc import Iterable, Sequence

from simul_whisper import AlignAttConfig
from streaming.events import Ended, Reason, Recognised
from streaming.protocols.dialect import Command, Dialect, End, Hangup, Message, Open, Reply, Say, Served
from streaming.sessions.request import Refusal
from streaming.settings import ClientLimits, VoiceConfig

SERVED = Served("base", ("whisper-1",), ("en", "de"), ("transcribe", "translate"), ("de",), "0.0")


class _Over(Exception):  # noqa: N818
    """The connection is closed."""


class Rehearsal:
    """Asserts what the server relies on: commands in an order that it can obey, and answers that can be sent."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._is_open = self._has_end = False

    def run(self, messages: Iterable[Message]) -> list[Reply]:
        """Hear all of it, and the end; return what was answered."""
        self.replies = list[Reply]()
        try:
            self._obey(self._begin())
            for n, message in enumerate(messages):
                self._hear(message, n / 10)
            self._obey(self._dialect.hear_end())
        except _Over:
            pass
        return self.replies

    def _begin(self) -> Sequence[Command]:
        assert isinstance(self._dialect.token(), str)
        try:
            return self._dialect.begin()
        except Refusal as refusal:
            self._refuse(refusal)
            raise _Over from refusal

    def _hear(self, message: Message, at_s: float) -> None:
        try:
            commands = self._dialect.hear(message, at_s)
        except Refusal as refusal:
            self._refuse(refusal)
        else:
            self._obey(commands)

    def _refuse(self, refusal: Refusal) -> None:
        assert refusal.reason is not Reason.INTERNAL
        replies = self._dialect.refuse(refusal)
        assert replies, "a refusal was passed over in silence"
        self._say(replies)

    def _obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Say):
                self._say(command.replies)
            elif isinstance(command, Open):
                assert not self._is_open or self._has_end, "the session before was not ended, so this one never begins"
                self._open(command)
            elif isinstance(command, End):
                self._end()
            else:
                assert self._is_open, "no session is there for it"

    def _open(self, command: Open) -> None:
        try:
            command.request.engine_config(AlignAttConfig(), ClientLimits())
            command.request.voice_config(VoiceConfig())
        except Refusal as refusal:
            self._refuse(refusal)
            raise _Over from refusal
        self._is_open, self._has_end = True, False

    def _end(self) -> None:
        if self._is_open and not self._has_end:
            for event in (Recognised(1.0), Ended(1.0)):
                self._say(self._dialect.tell(event, 1.0))
        self._has_end = True

    def _say(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            self.replies.append(reply)
            if isinstance(reply, Hangup):
                assert reply.code == 1000 or 1003 <= reply.code < 5000
                raise _Over
            if isinstance(reply, str):
                reply.encode()
