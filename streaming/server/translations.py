"""What the sessions of a server can be translated into, and who does it.

Whisper translates into English, from the sound and with the model that there is. All other languages need a translator
of text, which all sessions share.
"""

from collections.abc import Sequence

from simul_whisper import AlignAttConfig, ConfigError, TranslationConfig, Translator, language_names
from streaming.events import Reason
from streaming.sessions.pool import Health, SessionHandle
from streaming.sessions.request import Refusal
from streaming.stages.metrics import TranslationMetrics
from streaming.stages.stage import run_stage
from streaming.stages.translation import TranslationStage

_LANGUAGES = tuple(language_names())
_PLACES = ("{source}", "{target}")
_MOST_SHOWN = 12


class Translations:
    """Those of a server. translator: of text; None: there is none. first: languages to be offered before others."""

    def __init__(
        self, config: TranslationConfig | None = None, translator: Translator | None = None, first: Sequence[str] = ()
    ) -> None:
        self.config, self.translator, self.first = config or TranslationConfig(), translator, tuple(first)
        # A name that depends on the languages stands for many models, of which clients are to make nobody load more.
        self._has_many_models = any(place in self.config.model for place in _PLACES)
        self.metrics = TranslationMetrics()
        self._of_text: dict[tuple[str, ...], tuple[str, ...]] = {}

    @property
    def translator_name(self) -> str:
        """What translates text; empty where nothing does."""
        return self.translator.description if self.translator else ""

    def check_first(self, config: AlignAttConfig) -> None:
        """Raise ConfigError for languages that are to be offered first and cannot be had, whatever is spoken."""
        source = _source(config)
        for target in self.config.by_translator(self.first):
            assert self.translator
            if source != "auto":
                self.translator.check_pair(source, target)
            elif target not in self._targets_of_text(_LANGUAGES):
                name, known = language_names([target])[target], self._targets_of_text(_LANGUAGES)
                raise ConfigError(
                    f"{self.translator.description} translates no language into {name} ({target}), but "
                    f"into {_listed(known)}; another translator is chosen by --translation-model or --translation-url"
                )

    def targets(self, health: Health, config: AlignAttConfig) -> tuple[str, ...]:
        """Return the languages that a session with these settings can have, but for that of its own text."""
        source = _source(config)
        is_english = config.task == "translate" or "translate" not in health.tasks
        of_sound = () if is_english else self.config.by_whisper(_LANGUAGES)
        return of_sound + self._targets_of_text(health.languages if source == "auto" else (source,))

    def check(self, targets: Sequence[str], health: Health, config: AlignAttConfig, most: int) -> None:
        """Raise Refusal for targets that a session with these settings cannot have. most: how many it may have."""
        if len(targets) > most:
            raise Refusal(Reason.CONFIG, f"got {len(targets)} targets, but clients may ask for {most} at most")
        source, known = _source(config), self.targets(health, config)
        for target in self.config.by_translator(targets):
            is_copy = target == source and self.translator is not None
            if target not in known and not is_copy:
                raise Refusal(Reason.CONFIG, _why_not(target, known, source))
        for target in self.config.by_whisper(targets):
            if target not in known:
                raise Refusal(Reason.CONFIG, "the text of this session is English already; leave en out of its targets")

    def _targets_of_text(self, sources: tuple[str, ...]) -> tuple[str, ...]:
        if sources not in self._of_text:
            offered = self.first if self._has_many_models else _LANGUAGES
            candidates = self.config.by_translator(offered) if self.translator else ()
            self._of_text[sources] = tuple(
                target for target in candidates if any(self._has_pair(source, target) for source in sources)
            )
        return self._of_text[sources]

    def _has_pair(self, source: str, target: str) -> bool:
        assert self.translator
        if source == target or self._has_many_models:
            return source != target
        try:
            self.translator.check_pair(source, target)
        except ConfigError:
            return False
        return True


class SessionTranslations:
    """Those of one session, whose targets may be chosen at any time."""

    def __init__(self, translations: Translations, handle: SessionHandle, *, drafts: bool) -> None:
        self._handle, self._translations, self._config = handle, translations, translations.config
        self._drafts = drafts and self._config.drafts
        # Made when it is first needed: it has a thread.
        self._stage: TranslationStage | None = None

    def begin(self, targets: Sequence[str]) -> None:
        """The session is opened with these targets, of which Whisper has been told."""
        self._translate_text(self._config.by_translator(targets))

    def choose(self, targets: Sequence[str]) -> None:
        """Translate what follows into these languages, which were checked."""
        self._handle.choose_targets(self._config.by_whisper(targets))
        self._translate_text(self._config.by_translator(targets))

    def prepare(self) -> None:
        """A stage that reads translations is about to be run, so theirs must be there before it."""
        if self._translations.translator:
            self._translate_text((), is_needed=True)

    def _translate_text(self, targets: Sequence[str], *, is_needed: bool = False) -> None:
        if self._stage:
            if not is_needed:
                self._stage.choose(targets)
        elif targets or is_needed:
            translator, metrics = self._translations.translator, self._translations.metrics
            assert translator
            self._stage = TranslationStage(translator, self._config, targets, drafts=self._drafts, metrics=metrics)
            run_stage(self._handle.log, self._stage)


def _source(config: AlignAttConfig) -> str:
    """Return the language of a session's text, or auto."""
    return "en" if config.task == "translate" else config.language


def _why_not(target: str, known: tuple[str, ...], source: str) -> str:
    name = language_names([target])[target]
    from_source = "" if source == "auto" else f" from {language_names([source])[source]}"
    return f"this server does not translate{from_source} into {name}, but into {_listed(known)}"


def _listed(known: tuple[str, ...]) -> str:
    return (", ".join(known[:_MOST_SHOWN]) + (" ..." if len(known) > _MOST_SHOWN else "")) or "nothing"
