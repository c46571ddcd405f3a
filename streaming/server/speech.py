"""What the sessions of a server can have spoken, and in which voices, which all sessions share."""

from collections.abc import Mapping, Sequence

from simul_whisper import AlignAttConfig, SpeechConfig, Voices, language_names
from streaming.events import Reason
from streaming.server.translations import SessionTranslations
from streaming.sessions.pool import SessionHandle
from streaming.sessions.request import TRANSCRIPT, Refusal
from streaming.stages.metrics import SpeechMetrics
from streaming.stages.speech import SpeechStage
from streaming.stages.stage import run_stage


class Speech:
    """That of a server. voices: None: there are none."""

    def __init__(self, config: SpeechConfig | None = None, voices: Voices | None = None) -> None:
        self.config, self.voices, self.metrics = config or SpeechConfig(), voices, SpeechMetrics()

    @property
    def by_language(self) -> Mapping[str, str]:
        """The name of the voice of each language."""
        return self.voices.by_language if self.voices else {}

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of those that there is a voice for."""
        return tuple(self.voices.languages) if self.voices else ()

    def check(self, speech: Sequence[str], targets: Sequence[str], config: AlignAttConfig, most: int) -> None:
        """Raise Refusal for texts that a session with these targets cannot have spoken. most: how many it may have."""
        if not speech:
            return
        if not self.languages:
            raise Refusal(Reason.CONFIG, "this server has no voice; whoever runs it can start it with --speech")
        if len(speech) > most:
            raise Refusal(Reason.CONFIG, f"got {len(speech)} texts to speak, but clients may ask for {most} at most")
        for text in speech:
            if text not in (TRANSCRIPT, *targets):
                name = language_names([text])[text]
                raise Refusal(Reason.CONFIG, f"{name} cannot be spoken: it is not among the targets of this session")
            language = _language(config) if text == TRANSCRIPT else text
            if language != "auto" and language not in self.languages:
                names, known = language_names([language, *self.languages]), self.languages
                voices = ", ".join(names[code] for code in known)
                raise Refusal(Reason.CONFIG, f"this server has no voice for {names[language]}, but for {voices}")


class SessionSpeech:
    """That of one session, whose texts may be chosen at any time. targets: those that it begins with."""

    def __init__(
        self, speech: Speech, handle: SessionHandle, translations: SessionTranslations, targets: Sequence[str]
    ) -> None:
        self._speech, self._handle, self._translations = speech, handle, translations
        self.targets, self._chosen = tuple(targets), tuple[str, ...]()
        # Made when it is first needed: it has a thread.
        self._stage: SpeechStage | None = None

    def choose(self, speech: Sequence[str]) -> None:
        """Speak what follows of these texts, which were checked."""
        self._chosen = tuple(speech)
        if self._stage:
            self._stage.choose(self._chosen)
        elif speech:
            voices = self._speech.voices
            assert voices
            self._translations.prepare()
            self._stage = SpeechStage(voices, self._speech.config, self._chosen, metrics=self._speech.metrics)
            run_stage(self._handle.log, self._stage)

    def choose_targets(self, targets: Sequence[str]) -> None:
        """The session is translated into these languages; what it has no more is not spoken either."""
        self.targets = tuple(targets)
        kept = tuple(text for text in self._chosen if text in (TRANSCRIPT, *targets))
        if kept != self._chosen:
            self.choose(kept)


def _language(config: AlignAttConfig) -> str:
    """Return the language of a session's text, or auto."""
    return "en" if config.task == "translate" else config.language
