"""What a stream asks its server for, and how much of that the server has yet to be told. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from simul_whisper import checked_targets
from streaming.protocols.dialect import Speech, Targets
from streaming.sessions.request import TRANSCRIPT, SessionRequest


class Wishes:
    """hello: with what a session is opened that takes the place of a lost one."""

    def __init__(self, hello: SessionRequest) -> None:
        self.hello = hello
        self._is_told, self._has_chosen, self._has_chosen_speech = True, False, False

    def choose_targets(self, targets: Sequence[str]) -> None:
        """Raises ConfigError for what is no language."""
        self.hello = replace(self.hello, targets=checked_targets(targets))
        self._is_told, self._has_chosen = False, True

    def choose_speech(self, speech: Sequence[str]) -> None:
        """Raises ConfigError for what is no language."""
        transcript = (TRANSCRIPT,) if TRANSCRIPT in speech else ()
        targets = checked_targets([text for text in speech if text != TRANSCRIPT])
        self.hello = replace(self.hello, speech=(*transcript, *targets))
        self._is_told, self._has_chosen, self._has_chosen_speech = False, True, True

    def greet(self, *, is_new: bool) -> None:
        """The session is opened, or come back to: who comes back says all again, since the last words may be lost."""
        self._is_told = is_new or not self._has_chosen

    def untold(self) -> list[Targets | Speech]:
        """Return what the server has to be told, which counts as told from now on."""
        if self._is_told:
            return []
        self._is_told = True
        # An older server knows no speech, and need not hear that there is to be none.
        speech = [Speech(self.hello.speech)] if self._has_chosen_speech else []
        return [Targets(self.hello.targets), *speech]
