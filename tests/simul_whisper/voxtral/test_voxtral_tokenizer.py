"""What the engine asks of a tokenizer, answered by Voxtral's."""

import pytest

from simul_whisper.errors import ConfigError
from simul_whisper.voxtral.tekken import TekkenTokenizer
from simul_whisper.voxtral.tokenizer import LANGUAGES, VoxtralTokenizer
from tests.voxtral_files import SPECIAL, write_tekken

N_VOCAB = 512


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> VoxtralTokenizer:
    file = tmp_path_factory.mktemp("tekken") / "tekken.json"
    write_tekken(file, N_VOCAB)
    return VoxtralTokenizer(TekkenTokenizer(file))


def special(name: str) -> int:
    return SPECIAL.index(name)


def test_a_transcript_begins_with_its_language(tokenizer: VoxtralTokenizer) -> None:
    assert tokenizer.sot_sequence("de", "transcribe") == [*tokenizer.encode("lang:de"), special("[TRANSCRIBE]")]
    assert tokenizer.before_audio == tuple(map(special, ("<s>", "[INST]", "[BEGIN_AUDIO]")))
    assert (tokenizer.after_audio, tokenizer.eot) == ((special("[/INST]"),), special("</s>"))


def test_languages_are_told_apart_behind_what_all_their_names_begin_with(tokenizer: VoxtralTokenizer) -> None:
    names = [[*tokenizer.language_prompt, *path] for path in tokenizer.language_paths]
    assert names == [tokenizer.encode(f"lang:{language}") for language in LANGUAGES]
    assert len({path[0] for path in tokenizer.language_paths}) > 1


def test_what_it_cannot_do_is_said_in_one_line(tokenizer: VoxtralTokenizer) -> None:
    with pytest.raises(ConfigError, match=r"^Voxtral transcribes .* translator, or use a multilingual Whisper$"):
        tokenizer.sot_sequence("de", "translate")
    with pytest.raises(ConfigError, match=r"^Voxtral does not know Japanese \(ja\), but en, es"):
        tokenizer.sot_sequence("ja", "transcribe")
    with pytest.raises(ConfigError, match=r"^Voxtral does not know 'klingon', but en, es"):
        tokenizer.sot_sequence("klingon", "transcribe")


def test_every_token_but_the_end_is_text_or_never_written(tokenizer: VoxtralTokenizer) -> None:
    never = {*tokenizer.special_tokens}
    assert never | {tokenizer.eot} | {*tokenizer.text_tokens} == set(range(N_VOCAB))
    assert not never & {tokenizer.eot, *tokenizer.text_tokens}
    assert all(tokenizer.bytes_of(token) for token in tokenizer.text_tokens)
    assert not any(tokenizer.bytes_of(token) for token in never)
    assert all(map(tokenizer.starts_word, never))


def test_where_words_begin_and_what_is_a_mark(tokenizer: VoxtralTokenizer) -> None:
    (the,), (bare,), (stop,) = (tokenizer.encode(text) for text in (" the", "the", "."))
    assert tokenizer.starts_word(the)
    assert not tokenizer.continues_word(the)
    assert tokenizer.continues_word(bare)
    assert tokenizer.is_mark(stop)
    assert bare in tokenizer.continuing_tokens
    assert stop not in tokenizer.continuing_tokens


@pytest.mark.parametrize(
    ("text", "beginning"),
    [(" the one", "the one"), ("the one", "the one"), (" thexyz one", "thexyz one"), ("", ""), (". the", ". the")],
)
def test_text_that_has_lost_its_beginning_begins_without_a_space(
    tokenizer: VoxtralTokenizer, text: str, beginning: str
) -> None:
    assert tokenizer.beginning(tokenizer.encode(text)) == tokenizer.encode(beginning)


def test_half_a_character_at_the_beginning_is_left_as_it_is(tokenizer: VoxtralTokenizer) -> None:
    half = tokenizer.encode(" é")[:2]
    assert tokenizer.beginning(half) == half
