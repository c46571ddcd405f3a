"""Which of a server's models a session gets: the one that it names, or the one for its language. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simul_whisper import AlignAttConfig, language_names
from streaming.events import Reason
from streaming.sessions.request import Refusal, SessionRequest

_MOST_SHOWN = 80


@dataclass(frozen=True)
class ModelOffer:
    """A model, and the codes of the languages and the tasks that it can be asked for; empty: not known yet."""

    name: str
    languages: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def suits(self, config: AlignAttConfig) -> bool:
        """Whether it knows what is spoken, and can do what is asked."""
        knows = not self.languages or set(_languages(config)) <= set(self.languages)
        return knows and (not self.tasks or set(_tasks(config)) <= set(self.tasks))


@dataclass(frozen=True)
class ModelOffers:
    """All of a server, the one first that a session gets if nothing speaks for another.

    by_language: names of models by the codes of the languages that they are there for.
    """

    models: tuple[ModelOffer, ...]
    by_language: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    def chosen(self, request: SessionRequest, config: AlignAttConfig) -> ModelOffer:
        """Return the model of a session. config: the settings that it will have.

        Raises Refusal for a model that is not there, and for one that cannot do what another could.
        """
        suitable = [each for each in self.models if each.suits(config)]
        if request.model:
            named = self._named(request.model)
            if named in suitable or not suitable:
                return named
            others = _listed([each.name for each in suitable])
            raise Refusal(Reason.CONFIG, f"{named.name} {_lacks(named, config)}; {others} can")
        by_language = self.by_language.get(config.language)
        preferred = [each for each in suitable if each.name == by_language]
        if config.language == "auto" and "language" in request.engine:
            # Who asks for the language to be detected may well speak another than the only one.
            preferred = [each for each in suitable if len(each.languages) != 1]
        return next(iter([*preferred, *suitable, *self.models]))

    def _named(self, name: str) -> ModelOffer:
        found = next((each for each in self.models if each.name == name), None)
        if found is None:
            short = ascii(name[:_MOST_SHOWN])
            raise Refusal(Reason.CONFIG, f"got model {short}, expected {_listed(self.names)}")
        return found


def _languages(config: AlignAttConfig) -> Sequence[str]:
    """Return the codes of what may be spoken; none where it may be anything."""
    return config.languages if config.language == "auto" else (config.language,)


def _tasks(config: AlignAttConfig) -> Sequence[str]:
    return (config.task, *(("translate",) if config.targets else ()))


def _lacks(model: ModelOffer, config: AlignAttConfig) -> str:
    unknown = [code for code in _languages(config) if model.languages and code not in model.languages]
    if unknown:
        return f"does not know {_listed(tuple(language_names(unknown).values()))}"
    return "cannot translate"


def _listed(names: Sequence[str]) -> str:
    return " or ".join(names)
