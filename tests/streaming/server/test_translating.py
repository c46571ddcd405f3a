"""A server that translates: what a session asks for, at first and later, and what hostile hands make of it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simul_whisper import AlignAttConfig, ConfigError, TranslationConfig
from streaming.events import Ended, Flushed, Reason, Recognised, Translation
from streaming.protocols.dialect import Targets
from streaming.protocols.native import Numbered, Refused, Resume, client_text
from streaming.server.translations import Translations
from streaming.sessions.request import SessionRequest
from tests.streaming.serving import CONFIG, Served, Talker, serving, text_of
from tests.streaming.shouting import TARGETS, Shouting
from tests.streaming.talk import AUDIO, END, FLUSH, HELLO, SPEECH, get, told
from tests.tones import WORDS, in_english, tone_model

SHOUTED = SPEECH.text.upper()


def hello(*targets: str, **changes: Any) -> str:
    return client_text(SessionRequest(targets=targets, **changes))


def choose(*targets: str) -> str:
    return client_text(Targets(targets))


def translation(messages: list[Any], target: str) -> str:
    events = [each.event if isinstance(each, Numbered) else each for each in messages]
    return "".join(each.text for each in events if isinstance(each, Translation) and each.target == target)


def until(talker: Talker, kind: type[Any]) -> list[Any]:
    """All events up to the first of a kind."""
    events = list[Any]()
    while not (events and isinstance(events[-1], kind)):
        message = talker.next()
        events += [message.event] if isinstance(message, Numbered) else []
        assert not isinstance(message, Refused), message
    return events


def until_translated(talker: Talker, target: str) -> list[Any]:
    """All events up to the last translation of what was said."""
    events = list[Any]()
    while translation(events, target) != SHOUTED:
        events += until(talker, Translation)
    return events


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(translations=Translations(translator=Shouting(), first=["ar"])) as served:
        yield served


def test_each_target_gets_its_translation_beside_the_words(served: Served) -> None:
    messages, code = told(served, hello("de", "es"), AUDIO, END)
    assert text_of(messages) == SPEECH.text
    assert translation(messages, "de") == translation(messages, "es") == SHOUTED
    assert translation(messages, "ar") == ""
    assert isinstance(messages[-1].event, Ended)
    assert code == 1000


def test_who_asks_for_no_target_gets_none(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(HELLO, AUDIO)
        talker.ready()
        assert "TranslationStage" not in {thread.name for thread in threading.enumerate()}
        talker.say(END)
        messages = talker.rest()
    assert text_of(messages) == SPEECH.text
    assert not [each for each in messages if isinstance(each, Numbered) and isinstance(each.event, Translation)]


def test_targets_are_chosen_while_somebody_speaks(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(HELLO, AUDIO, FLUSH)
        talker.ready()
        events = until(talker, Flushed)
        talker.say(choose("es"), AUDIO, FLUSH)
        events += until_translated(talker, "es")
        talker.say(choose("de"), AUDIO, FLUSH)
        events += until_translated(talker, "de")
        talker.say(choose(), AUDIO, END)
        events += talker.rest()
    assert text_of(events) == SPEECH.text * 4
    assert translation(events, "es") == translation(events, "de") == SHOUTED


def test_the_session_says_what_it_can_be_translated_into(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(HELLO)
        ready = talker.ready()
    assert ready.targets is not None
    assert set(ready.targets) == {"en", *TARGETS}
    assert ready.limits is not None
    assert ready.limits["targets"] == 4
    with Talker(served) as talker:
        # Nobody shouts from German; what is German already is copied.
        talker.say(hello("de", engine={"language": "de"}))
        assert talker.ready().targets == ("en",)


def test_the_page_learns_what_is_offered(served: Served) -> None:
    model = json.loads(get(served, "/v1/model")[1])
    assert {each["code"]: each["name"] for each in model["targets"]} == {
        "en": "English",
        "de": "German",
        "es": "Spanish",
        "ar": "Arabic",
    }
    assert (model["first_targets"], model["most_targets"]) == (["ar"], 4)
    assert model["translator"] == "somebody who shouts"


def test_without_a_translator_whisper_translates_into_english_where_it_can() -> None:
    with serving() as plain:
        model = json.loads(get(plain, "/v1/model")[1])
        assert (model["targets"], model["translator"]) == ([{"code": "en", "name": "English"}], "")
        (refused,), _ = told(plain, hello("en", engine={"task": "translate"}))
        assert "is English already" in refused.message
    with serving(model=tone_model(name="tiny.en")) as english:
        assert json.loads(get(english, "/v1/model")[1])["targets"] == []
        (refused,), code = told(english, hello("en"))
        assert (refused.reason, code) == (Reason.CONFIG, 1008)
        assert "is English already" in refused.message
    with serving(translations=Translations(TranslationConfig(english="translator"))) as by_nobody:
        (refused,), _ = told(by_nobody, hello("en"))
        assert refused.message == "this server does not translate from English into English, but into nothing"


def test_whisper_translates_into_english_beside_the_words_at_first_and_later() -> None:
    german, english = tone_model("de"), "".join(WORDS[in_english(word)] for word in SPEECH.words)
    with serving(model=german, config=replace(CONFIG, language="de")) as served:
        messages, _ = told(served, hello("en"), AUDIO, END)
        assert text_of(messages) == SPEECH.text
        assert translation(messages, "en") == english
        with Talker(served) as talker:
            talker.say(HELLO, AUDIO, FLUSH)
            events = until(talker, Flushed)
            talker.say(choose("en"), AUDIO, FLUSH)
            events += until(talker, Flushed)
            talker.say(choose(), AUDIO, END)
            events += talker.rest()
    assert text_of(events) == SPEECH.text * 3
    assert translation(events, "en") == english


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        (["fr"], "does not translate from English into French, but into en, de, es, ar"),
        (["de", "fr"], "into French"),
        (["en", "de", "es", "ar", "fr"], "got 5 targets, but clients may ask for 4 at most"),
        (["klingon"], "Whisper does not know"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(served: Served, targets: list[str], why: str) -> None:
    (refused,), code = told(served, json.dumps({"type": "hello", "version": 1, "targets": targets}))
    assert isinstance(refused, Refused)
    assert (refused.reason, code) == (Reason.CONFIG, 1008)
    assert why in refused.message
    messages, code = told(served, HELLO, json.dumps({"type": "targets", "targets": targets}))
    assert (messages[-1], code) == (refused, 1008)


@dataclass
class Hub(Shouting):
    """Has a model for each pair of languages, which takes its time to load."""

    loaded: set[tuple[str, str]] = field(default_factory=set)

    def check_pair(self, source: str, target: str) -> None:
        self.loaded.add((source, target))


def test_clients_make_nobody_load_models_but_those_of_the_server() -> None:
    config, hub = TranslationConfig(model="opus-mt-{source}-{target}"), Hub()
    with serving(translations=Translations(config, hub, first=["es", "de"])) as served:
        model = json.loads(get(served, "/v1/model")[1])
        assert [each["code"] for each in model["targets"]] == ["en", "es", "de"]
        (refused,), _ = told(served, hello("fr"))
        assert "into French, but into en, es, de" in refused.message
        assert hub.loaded == set()
        messages, _ = told(served, hello("es"), AUDIO, END)
        assert translation(messages, "es") == SHOUTED
        assert hub.loaded == {("en", "es")}


@pytest.mark.parametrize(("language", "target"), [("en", "fr"), ("de", "es"), ("auto", "fr")])
def test_a_server_does_not_start_with_languages_that_it_cannot_have(language: str, target: str) -> None:
    translations = Translations(translator=Shouting(), first=["en", target])
    with pytest.raises(ConfigError, match=target):
        translations.check_first(AlignAttConfig(language=language))


@pytest.mark.parametrize("config", [AlignAttConfig(language="en"), AlignAttConfig(language="de", task="translate")])
def test_a_server_starts_with_languages_that_it_can_have(config: AlignAttConfig) -> None:
    Translations(translator=Shouting(), first=["en", "es"]).check_first(config)


def test_targets_outlive_the_connection(served: Served) -> None:
    with Talker(served) as first:
        first.say(hello("es"))
        session = first.ready().session
        first.say(choose("de"), FLUSH)
        until(first, Flushed)
        first.cut()
    with Talker(served) as second:
        second.say(client_text(Resume(session, 0, 0)))
        assert set(second.ready().targets or ()) == {"en", *TARGETS}
        second.say(AUDIO, END)
        events = second.rest()
    assert (translation(events, "es"), translation(events, "de")) == ("", SHOUTED)


def test_a_flood_of_choices_costs_no_word(served: Served) -> None:
    flood = [choose(*TARGETS[: n % 4]) for n in range(3_000)]
    before = threading.active_count()
    messages, _ = told(served, hello("de"), AUDIO, *flood, choose("es"), AUDIO, END, choose("de"))
    assert text_of(messages) == SPEECH.text * 2
    served.wait_for(lambda: threading.active_count() <= before)


def test_words_do_not_wait_for_a_translator_that_hangs() -> None:
    translator = Shouting()
    with serving(translations=Translations(translator=translator)) as served:
        translator.may_go_on.clear()
        try:
            with Talker(served) as waiting, Talker(served) as other:
                waiting.say(hello("de", "es"), AUDIO, END)
                waiting.ready()
                assert text_of(until(waiting, Recognised)) == SPEECH.text
                translator.is_asked.wait()
                # Nor do the words of others.
                other.say(HELLO, AUDIO, END)
                assert text_of(other.rest()) == SPEECH.text
                translator.may_go_on.set()
                messages = waiting.rest()
        finally:
            translator.may_go_on.set()
    assert translation(messages, "de") == translation(messages, "es") == SHOUTED


def test_translations_are_counted_by_target() -> None:
    with serving(translations=Translations(translator=Shouting())) as served:
        told(served, hello("de", "es"), AUDIO, END)
        families = {family.name: family for family in text_string_to_metric_families(get(served, "/metrics")[1])}
    words = {each.labels["target"]: each.value for each in families["simul_whisper_translation_words"].samples}
    assert words == dict.fromkeys(["de", "es"], len(SHOUTED.split()))
