"""The translators of CTranslate2: what each family is told, damaged models, and models by pair."""

import builtins
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.fixture_translator.network import Dims, new_parameters
from scripts.fixture_translator.saving import save
from simul_whisper import (
    BackendError,
    ConfigError,
    ModelError,
    Progress,
    Sentence,
    Stage,
    TranslationConfig,
    TranslationError,
    WeightsError,
    open_translator,
)
from simul_whisper.translators import ctranslate2 as backend
from simul_whisper.translators.ctranslate2 import load_model
from tests.fixture_translator import CONFIG, DIRECTORY, by_oracle, fixture_sentence, held_out, joined
from tests.hostile_files import only_our_errors
from tests.simul_whisper.translators.model_directory import copy_of_fixture

WORDS = (" The", " old", " dog", " sees", " a", " cat.")


class Recorder:
    """CTranslate2's translator, and what it was asked."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.source: Sequence[str] = ()
        self.prefix: Sequence[str] = ()
        self.most = self.n_tokens = 0

    def translate_batch(self, source: Any, **options: Any) -> Any:
        (self.source,), (self.prefix,) = source, options["target_prefix"]
        self.most = options["max_decoding_length"]
        found = self._engine.translate_batch(source, **options)
        self.n_tokens = len(found[0].hypotheses[0])
        return found


def random_model(directory: Path, pieces: str, languages: Sequence[str]) -> Path:
    """A model of random weights in the shape of another family."""
    directory.mkdir()
    shutil.copy(DIRECTORY / "source.spm", directory / pieces)
    vocabulary = [*json.loads((DIRECTORY / "shared_vocabulary.json").read_text()), *languages]
    dims = Dims(len(vocabulary), n_state=16, n_hidden=16, n_encoder_layers=1, n_decoder_layers=1)
    save(directory, dims, vocabulary, new_parameters(dims, seed=1), adds_end=False)
    return directory


@pytest.mark.parametrize(
    ("pieces", "languages", "before", "prefix"),
    [
        ("sentencepiece.bpe.model", ["eng_Latn", "spa_Latn"], ["eng_Latn"], ["spa_Latn"]),
        ("sentencepiece.bpe.model", ["__en__", "__es__"], ["__en__"], ["__es__"]),
    ],
)
def test_m2m100_and_nllb_are_told_both_languages(
    tmp_path: Path, pieces: str, languages: list[str], before: list[str], prefix: list[str]
) -> None:
    model = load_model(random_model(tmp_path / "model", pieces, languages), "model")
    recorder = Recorder(model.engine)
    tokens = dataclasses.replace(model, engine=recorder).translate(Sentence("en", "es", WORDS, " old dog"))
    assert recorder.source == [*before, *model.source_pieces.pieces(WORDS)[0], "</s>"]
    assert recorder.prefix == [*prefix, "▁old", "▁dog"]
    assert all(token.source_word is None for token in tokens), "nobody knows which of its heads align"


@pytest.mark.parametrize(("target", "space"), [("es", " "), ("zh", "")])
def test_where_languages_have_no_spaces_a_translation_begins_without(tmp_path: Path, target: str, space: str) -> None:
    languages = ["eng_Latn", "spa_Latn", "zho_Hans"]
    model = load_model(random_model(tmp_path / "model", "sentencepiece.bpe.model", languages), "model")

    class Engine:
        def translate_batch(self, _source: Any, **options: Any) -> Any:
            (told,) = options["target_prefix"]
            return [SimpleNamespace(hypotheses=[[*told, "▁dog", "s", "▁cat"]])]

    changed = dataclasses.replace(model, engine=Engine())
    assert joined(changed.translate(Sentence("en", target, WORDS))) == f"{space}dogs cat"
    assert joined(changed.translate(Sentence("en", target, WORDS, "old"))) == " dogs cat"


def test_madlad_is_told_the_target_before_the_source(tmp_path: Path) -> None:
    model = load_model(random_model(tmp_path / "model", "spiece.model", ["<2en>", "<2es>"]), "model")
    recorder = Recorder(model.engine)
    dataclasses.replace(model, engine=recorder).translate(Sentence("de", "es", WORDS))
    told = model.source_pieces.pieces(["<2es>"])[0]
    assert recorder.source == [*told, *model.source_pieces.pieces(WORDS)[0], "</s>"]
    assert list(recorder.prefix) == []


def test_an_opus_mt_of_many_targets_is_told_which(tmp_path: Path) -> None:
    directory = random_model(tmp_path / "model", "source.spm", [">>deu<<", ">>spa<<"])
    shutil.copy(DIRECTORY / "target.spm", directory)
    model = load_model(directory, "opus-mt-en-mul")
    recorder = Recorder(model.engine)
    tokens = dataclasses.replace(model, engine=recorder).translate(Sentence("en", "es", WORDS, " tomi"))
    assert recorder.source == [">>spa<<", *model.source_pieces.pieces(WORDS)[0], "</s>"]
    # What names the language takes attention, and is no word.
    assert {token.source_word for token in tokens} <= set(range(len(WORDS)))
    assert tokens


def test_a_model_that_never_ends_is_ended(tmp_path: Path) -> None:
    """One of random weights says what it said last, for ever."""
    model = load_model(random_model(tmp_path / "model", "spiece.model", ["<2en>", "<2es>"]), "model")
    recorder = Recorder(model.engine)
    dataclasses.replace(model, engine=recorder).translate(Sentence("de", "es", WORDS, " dog"))
    assert 10 < recorder.n_tokens == recorder.most < 50


def test_a_sentence_without_end_is_refused() -> None:
    with pytest.raises(TranslationError, match="expected at most 400"):
        open_translator(CONFIG).translate(fixture_sentence(WORDS * 100))


def test_words_are_continued_whatever_was_told() -> None:
    """Also what the model would not have said, in letters that it does not know."""
    translator = open_translator(CONFIG)
    for told in (" tomi vetuta", " miro", " 日本", "tomi"):
        assert joined(translator.translate(fixture_sentence(WORDS, told))).endswith(".")


def test_a_model_without_measured_heads_tells_no_source_words(tmp_path: Path) -> None:
    directory = copy_of_fixture(tmp_path / "model")
    (directory / "alignment.json").unlink()
    found = open_translator(TranslationConfig(model=str(directory))).translate(fixture_sentence(WORDS))
    assert joined(found) == by_oracle(WORDS)
    assert all(token.source_word is None for token in found)


def test_one_model_for_each_pair(tmp_path: Path) -> None:
    copy_of_fixture(tmp_path / "from-en-to-la")
    reports: list[Progress] = []
    translator = open_translator(TranslationConfig(model=f"{tmp_path}/from-{{source}}-to-{{target}}"), reports.append)
    assert not reports, "which model is not known yet"
    sentences = [fixture_sentence(words) for words in held_out(12)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(translator.translate, sentences))
    assert [joined(tokens) for tokens in found] == [by_oracle(sentence.words) for sentence in sentences]
    assert reports == [Progress(Stage.LOADING, f"{tmp_path}/from-en-to-la")], "it was loaded once"
    translator.check_pair("en", "la")
    with pytest.raises(ConfigError, match=r"en to de: .*from-en-to-de: is no directory"):
        translator.check_pair("en", "de")
    with pytest.raises(TranslationError, match="could not translate"):
        translator.translate(dataclasses.replace(sentences[0], target="de"))


def test_a_model_that_is_loaded_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for target in ("la", "de"):
        copy_of_fixture(tmp_path / f"to-{target}")
    begun, go_on = Event(), Event()

    def slow(directory: Path, name: str) -> Any:
        if name.endswith("de"):
            begun.set()
            assert go_on.wait(60)
        return load_model(directory, name)

    monkeypatch.setattr(backend, "load_model", slow)
    translator = open_translator(TranslationConfig(model=f"{tmp_path}/to-{{target}}"))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(translator.check_pair, "en", "de")
        assert begun.wait(60)
        assert joined(translator.translate(fixture_sentence(WORDS))) == by_oracle(WORDS)
        go_on.set()
        with pytest.raises(ConfigError, match="does not translate into de, but into la"):
            waiting.result()


@pytest.mark.parametrize("name", [file.name for file in DIRECTORY.iterdir()])
@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"{", b"[[[[", b"[]", b"null", b"x" * 1000])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    directory = copy_of_fixture(tmp_path / "model")
    (directory / name).write_bytes(content)
    with only_our_errors():
        translator = open_translator(TranslationConfig(model=str(directory)))
        translator.translate(fixture_sentence(WORDS))
        assert name == "tokenizer_config.json", "without the pair, it still translates"


@pytest.mark.parametrize("name", ["model.bin", "config.json", "shared_vocabulary.json", "source.spm", "target.spm"])
def test_a_missing_file_is_told_by_name(tmp_path: Path, name: str) -> None:
    directory = copy_of_fixture(tmp_path / "model")
    (directory / name).unlink()
    with pytest.raises(WeightsError, match=name.removesuffix(".json")):
        open_translator(TranslationConfig(model=str(directory)))


@pytest.mark.parametrize("at", [0, 10, 100, 1000, 100_000, 800_000])
def test_a_truncated_model_is_refused(tmp_path: Path, at: int) -> None:
    directory = copy_of_fixture(tmp_path / "model")
    whole = (directory / "model.bin").read_bytes()
    (directory / "model.bin").write_bytes(whole[:at])
    with pytest.raises(ModelError, match=r"model\.bin: ") as refused:
        open_translator(TranslationConfig(model=str(directory)))
    assert str(refused.value).isprintable()


def test_a_glossary_is_refused() -> None:
    with pytest.raises(ConfigError, match="a glossary, which the models of ctranslate2 cannot be told"):
        open_translator(dataclasses.replace(CONFIG, glossary="terms.txt"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (TranslationConfig(backend="ctranslate2"), "got no model"),
        (TranslationConfig(backend="openai", model="x"), "got no url"),
    ],
)
def test_a_backend_without_its_setting_is_refused(config: TranslationConfig, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_translator(config)


def test_a_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def without_sentencepiece(name: str, *others: Any, **options: Any) -> Any:
        if name == "sentencepiece":
            raise ModuleNotFoundError("No module named 'sentencepiece'", name="sentencepiece")
        return true_import(name, *others, **options)

    for name in ("ctranslate2", "sentence_pieces"):
        monkeypatch.delitem(sys.modules, f"simul_whisper.translators.{name}", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_sentencepiece)
    with pytest.raises(BackendError, match=r"needs sentencepiece; pip install 'simul-whisper\[translate\]'"):
        open_translator(CONFIG)
