"""Several models in one server: what clients ask for, what they get, and what they are told."""

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect

from simul_whisper import SAMPLE_RATE, AlignAttConfig, BackendError, Model, Word
from streaming.events import Failed, Reason, Words
from streaming.protocols.dialect import End
from streaming.protocols.native import Numbered, Refused, client_text
from streaming.server.dialects import Dialects
from streaming.sessions.request import SessionRequest
from streaming.settings import WorkerConfig
from tests.conftest import Recording
from tests.dialects import ToldError
from tests.dialects.deepgram import LINEAR16, DeepgramSpeaker
from tests.dialects.wyoming import event
from tests.streaming.models import ENGLISH, Loader, made_pool, models_pool
from tests.streaming.serving import CONFIG, Served, Talker, s16, serving, text_of
from tests.tones import english, mirror_model, random_words, speech_of, tone_model

SPEECH = speech_of(random_words(4))
END = client_text(End())
BROKEN = BackendError("/srv/models/broken: no such directory")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The first model knows English only, and one cannot be loaded."""
    models: dict[str, Model | Exception] = {
        "tones.en": tone_model(name="tiny.en"),
        "mirror": mirror_model(),
        "broken": BROKEN,
    }
    pool = made_pool(Loader(models, {"tones.en": ENGLISH}))
    with serving(pool=pool, by_language={"es": "mirror"}, dialects=Dialects(("openai", "deepgram", "wyoming"))) as made:
        yield made


def asked(served: Served, path: str) -> Any:
    with urlopen(f"http://127.0.0.1:{served.port}{path}") as answer:
        return json.load(answer)


def heard(served: Served, model: str = "", **engine: Any) -> tuple[str | None, str]:
    """Speak natively; return the model that listens, as it is told, and the words."""
    with Talker(served) as talker:
        talker.say(client_text(SessionRequest(engine=engine, model=model)))
        ready = talker.ready()
        talker.say(s16(SPEECH.samples), END)
        return ready.model, text_of(talker.rest())


def refusal(served: Served, model: str, **engine: Any) -> Refused:
    with Talker(served) as talker:
        talker.say(client_text(SessionRequest(engine=engine, model=model)))
        (refused,) = talker.rest()
    assert isinstance(refused, Refused)
    return refused


def test_a_session_names_its_model(served: Served) -> None:
    assert heard(served) == heard(served, "tones.en") == ("tones.en", SPEECH.text)
    assert heard(served, "mirror") == ("mirror", english(SPEECH).text)


def test_or_gets_the_one_for_its_language(served: Served) -> None:
    assert heard(served, language="es")[0] == "mirror"
    # Nobody has chosen a model for German, but the first one does not know it.
    assert heard(served, language="de")[0] == "mirror"
    assert heard(served, language="en")[0] == "tones.en"
    assert heard(served, task="translate") == ("mirror", SPEECH.text)


def test_names_that_are_none_and_wishes_that_a_model_cannot_grant(served: Served) -> None:
    refused = refusal(served, "nothing")
    assert (refused.reason, refused.message) == (
        Reason.CONFIG,
        "got model 'nothing', expected tones.en or mirror or broken",
    )
    assert refusal(served, "tones.en", language="de").message == "tones.en does not know German; mirror or broken can"
    with Talker(served) as talker:
        talker.say('{"type": "hello", "version": 1, "model": 1}')
        (answer,) = talker.rest()
    assert isinstance(answer, Refused)
    assert answer.reason is Reason.BAD_VALUE


def test_one_that_cannot_be_loaded_is_told_without_its_place_and_disturbs_nobody(served: Served) -> None:
    with Talker(served) as neighbour:
        neighbour.say(client_text(SessionRequest()))
        neighbour.ready()
        with Talker(served) as talker:
            talker.say(client_text(SessionRequest(model="broken")))
            last = talker.rest()[-1]
        assert isinstance(last, Numbered)
        assert isinstance(last.event, Failed)
        refused = refusal(served, "broken")
        assert (refused.reason, "/srv" in refused.message) == (Reason.ENGINE, False)
        neighbour.say(s16(SPEECH.samples), END)
        assert text_of(neighbour.rest()) == SPEECH.text
    assert asked(served, "/health")["models"]["broken"] == "failed"


def test_what_there_is_is_told(served: Served) -> None:
    heard(served, "mirror")
    health = asked(served, "/health")
    assert health["ready"]
    assert (health["models"]["tones.en"], health["models"]["mirror"]) == ("ready", "ready")
    told = asked(served, "/v1/model")
    first, mirror, _ = told["models"]
    assert (told["name"], first["name"], mirror["name"]) == ("tones.en", "tones.en", "mirror")
    assert [each["code"] for each in first["languages"]] == ["en"]
    # Any of them together: a page that names no model can ask for that.
    assert all(each in told["languages"] for each in mirror["languages"])
    assert told["tasks"] == ["transcribe", "translate"]
    assert (first["tasks"], mirror["tasks"]) == (["transcribe"], ["transcribe", "translate"])
    listed = {each["id"]: each.get("state") for each in asked(served, "/v1/models")["data"]}
    assert listed["mirror"] == "ready"
    assert listed["whisper-1"] is None
    page = urlopen(f"http://127.0.0.1:{served.port}/metrics").read().decode()
    assert 'simul_whisper_sessions_open{model="mirror"} 0.0' in page
    assert page.count("# TYPE simul_whisper_words_total") == 1


def test_it_is_ready_when_the_first_is() -> None:
    pool = made_pool(Loader({"tones": tone_model(), "mirror": mirror_model()}))
    with serving(pool=pool, is_ready=False) as served:
        with pytest.raises(HTTPError) as refused:
            asked(served, "/health")
        assert json.load(refused.value)["models"] == {"tones": "loading", "mirror": "unloaded"}
        assert refusal(served, "mirror").reason is Reason.NOT_READY
        with pytest.raises(ToldError, match="503"):
            DeepgramSpeaker().call_model(served, "mirror")


def test_one_model_is_told_of_as_ever() -> None:
    with serving() as served:
        assert "models" not in asked(served, "/health")
        assert "models" not in asked(served, "/v1/model")
        assert heard(served) == heard(served, "tones") == ("tones", SPEECH.text)
        assert refusal(served, "mirror").message == "got model 'mirror', expected tones"


def test_deepgram_is_told_which_model_listens_where_the_servers_own_language_chooses_it() -> None:
    pool = made_pool(Loader({"tones": tone_model(), "mirror": mirror_model()}))
    config, url = replace(CONFIG, language="es"), f"/v1/listen?{LINEAR16}"
    with (
        serving(pool=pool, config=config, by_language={"es": "mirror"}) as served,
        connect(f"ws://127.0.0.1:{served.port}{url}", proxy=None) as client,
    ):
        client.send(s16(SPEECH.samples))
        client.send('{"type": "CloseStream"}')
        told = [json.loads(each) for each in client]
    results = [each for each in told if each["type"] == "Results"]
    assert results
    assert {each["metadata"]["model_info"]["name"] for each in results} == {"mirror"}


def test_a_full_model_keeps_nobody_from_another() -> None:
    loader = Loader({"tones": tone_model(), "mirror": mirror_model()}, worker=WorkerConfig(max_sessions=1))
    with serving(pool=made_pool(loader)) as served, Talker(served) as first:
        first.say(client_text(SessionRequest()))
        first.ready()
        with DeepgramSpeaker().call_model(served, "mirror") as call:
            call.send(s16(SPEECH.samples))
            call.end()
            assert "".join(call.said()).split() == english(SPEECH).text.split()


def test_wyoming_lists_each_with_its_languages(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.dialect_ports["wyoming"])) as client:
        client.sendall(event("describe"))
        lines = client.makefile("rb")
        head = json.loads(lines.readline())
        (program,) = json.loads(lines.read(head["data_length"]))["asr"]
    languages = {each["name"]: each["languages"] for each in program["models"]}
    assert languages["tones.en"] == ["en"]
    assert "de" in languages["mirror"]


def test_openai_refuses_names_that_are_none_with_all_that_there_are(served: Served) -> None:
    with pytest.raises(HTTPError) as refused:
        asked(served, "/v1/models/nothing")
    assert refused.value.code == 404
    assert "this server has tones.en, mirror, broken, whisper-1" in refused.value.read().decode()


def test_each_model_hears_as_it_does_alone(tiny: Model, base: Model, captions: Recording) -> None:
    """Real models, over a real socket, at once."""
    config = AlignAttConfig(padding_len=1.0, language="en")
    # However late the audio comes, it is decoded in the same steps.
    options = WorkerConfig(late_s=1_000.0)
    pcm = s16(captions.samples[: 3 * SAMPLE_RATE])
    models, alone = {"tiny.en": tiny, "base": base}, dict[str, tuple[Word, ...]]()
    for name, model in models.items():
        with serving(model=model, config=config, late_s=options.late_s) as served:
            alone[name] = said(served, {"": pcm})[""]
    with models_pool(models, config, options) as pool, serving(pool=pool, config=config) as served:
        assert said(served, dict.fromkeys(models, pcm)) == alone
    assert alone["tiny.en"] != alone["base"]


def said(served: Served, pcm_by_model: Mapping[str, bytes]) -> dict[str, tuple[Word, ...]]:
    """Speak to models at once; return the words of each."""
    with ExitStack() as stack:
        talkers = {name: stack.enter_context(Talker(served)) for name in pcm_by_model}
        for name, talker in talkers.items():
            talker.say(client_text(SessionRequest(model=name, drafts=False)), pcm_by_model[name], END)
        return {name: words_of(talker.rest()) for name, talker in talkers.items()}


def words_of(messages: Iterable[Numbered | Refused]) -> tuple[Word, ...]:
    events = [each.event for each in messages if isinstance(each, Numbered)]
    return tuple(word for event in events if isinstance(event, Words) for word in event.words)
