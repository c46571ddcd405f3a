"""What a client tells of its connection, and the errors that end a stream."""

from dataclasses import dataclass

from simul_whisper import SimulWhisperError


class LostError(SimulWhisperError):
    """The stream is over before its end. code: as in the protocol, or of the client: see `Recovery.codes`.

    retry_after_s: in how many seconds the server would have one come back; None where it has not said.
    """

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code, self.retry_after_s = code, retry_after_s


class RefusedError(LostError):
    """The server refuses."""

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(code, f"{code}: {message}", retry_after_s)


class ConnectionLostError(LostError):
    """The server cannot be reached, at first or for longer than one is patient."""


@dataclass(frozen=True)
class Disconnected:
    """The connection is lost, or the server asks to come again: the client goes on trying, and audio is kept.

    code: as in `LostError`. It is told again only when the code is another, or the server asks to wait. in_s: when the
    client tries again; None for at once, and soon.
    """

    code: str
    message: str
    in_s: float | None = None


@dataclass(frozen=True)
class Reconnected:
    """The connection is back. is_resumed: the session goes on; else a new one hears the audio again from `from_s`."""

    is_resumed: bool
    from_s: float
