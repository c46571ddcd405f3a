"""Apertium, where it is installed; and programs of its name that are missing, fail, hang, or never end."""

import gc
import os
import stat
import string
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.errors import BackendError, ConfigError, TranslationError
from simul_whisper.translators import Sentence
from simul_whisper.translators.apertium import ApertiumTranslator, modes_by_pair, open_apertium
from simul_whisper.translators.apertium_pipe import _one_line, _plain, _stream
from simul_whisper.translators.choice import open_translator
from simul_whisper.translators.config import TranslationConfig
from tests.conftest import RECORDINGS
from tests.properties import examples


def has_pair() -> bool:
    """Whether Apertium is there, with English to Spanish."""
    try:
        open_apertium(TranslationConfig()).check_pair("en", "es")
    except (BackendError, ConfigError):
        return False
    return True


needs_apertium = pytest.mark.skipif(not has_pair(), reason="apertium with apertium-eng-spa is not installed")
# Answers each line like Apertium, in its stream format.
ECHO = "while IFS= read -r -d '' line; do printf '%s\\0' \"$line\"; done"
Commands = Callable[..., ApertiumTranslator]


def said(text: str, told: str = "") -> Sentence:
    return Sentence("en", "es", tuple(f" {word}" for word in text.split(" ")), told)


def text_of(translator: ApertiumTranslator, sentence: Sentence) -> str:
    return "".join(token.text for token in translator.translate(sentence))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """An Apertium with one pair of languages, whose commands are these."""

    def installed(commands: str, timeout: float = 60.0, mode: str = "eng-spa") -> ApertiumTranslator:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "share/apertium/modes").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"share/apertium/modes/{mode}.mode").write_text(commands)
        for name, script in (("apertium", "exit 1"), ("apertium-wblank-mode", 'cat "$2"')):
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / name).chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
        return open_apertium(TranslationConfig(timeout=timeout))

    return installed


@pytest.fixture(scope="module")
def apertium() -> ApertiumTranslator:
    return open_apertium(TranslationConfig(timeout=60))


@needs_apertium
def test_it_translates(apertium: ApertiumTranslator) -> None:
    assert text_of(apertium, said("The cat is sleeping.")) == " El gato está durmiendo."
    assert text_of(apertium, said("The cat is sleeping.", told=" El gato")) == " está durmiendo."
    assert "eng-spa" in apertium.description


@needs_apertium
def test_commands_that_are_kept_running_say_what_the_program_says(apertium: ApertiumTranslator) -> None:
    lines = [line for line in (RECORDINGS / "kettle.txt").read_text("utf-8").splitlines() if line and line[0] != "("]
    command = ["apertium", "-u", "eng-spa"]
    for line in [*lines, "The kettle is", lines[0], "Zyx (zyx) etc."]:
        expected = subprocess.run(command, input=line, capture_output=True, text=True, check=True).stdout
        assert text_of(apertium, said(line)).split() == expected.split()


@needs_apertium
@pytest.mark.parametrize("sign", [*string.punctuation, "¿", "«", "…", "—", "“", "€", "😀"])
def test_no_sign_is_lost_nor_steers_the_program(sign: str, apertium: ApertiumTranslator) -> None:
    text = text_of(apertium, said(f"{sign} the cat {sign}dog {sign} mouse{sign} the{sign}horse {sign}{sign} house"))
    assert text.count(sign) == 7
    assert "casa" in text.lower()


@needs_apertium
@pytest.mark.parametrize(
    "text",
    ["--help", "-d /tmp", "$(touch /tmp/x) `ls`", "^cat<n><pl>$ [<b>] \\^ [][", "a\0b\n\x1b[2J c\u2028d", "\ud800"],
)
def test_whatever_is_said_is_text(text: str, apertium: ApertiumTranslator) -> None:
    line = text_of(apertium, said(f"{text} house"))
    assert "casa" in line.lower()
    assert line.isprintable()


@needs_apertium
def test_unknown_words_stay_without_a_mark(apertium: ApertiumTranslator) -> None:
    assert text_of(apertium, said("The Xyzzy sleeps.")).split()[1] == "Xyzzy"
    assert text_of(apertium, said("")) == ""


@needs_apertium
def test_an_unknown_pair_is_refused_with_those_that_are_there(apertium: ApertiumTranslator) -> None:
    apertium.check_pair("en", "es")
    with pytest.raises(ConfigError, match=r"English to Japanese here, only .*English to Spanish"):
        apertium.check_pair("en", "ja")
    with pytest.raises(ConfigError):
        apertium.translate(Sentence("en", "ja", (" cat",)))


def test_its_codes_are_those_of_whisper() -> None:
    modes = "eng-spa spa-eng spa-eng_US en-ca nob-nno hbs-mkd mkd-hbs_HR spa-arg * eng-spa-tagger fra-oci_aran"
    found = modes_by_pair([Path(f"{mode}.mode") for mode in modes.split()])
    assert {pair: mode.stem for pair, mode in found.items()} == {
        ("en", "es"): "eng-spa",
        ("es", "en"): "spa-eng",
        ("en", "ca"): "en-ca",
        ("no", "nn"): "nob-nno",
        ("bs", "mk"): "hbs-mkd",
        ("hr", "mk"): "hbs-mkd",
        ("sr", "mk"): "hbs-mkd",
        ("mk", "hr"): "mkd-hbs_HR",
        ("fr", "oc"): "fra-oci_aran",
    }


def test_a_missing_program_or_pair_says_what_to_install(
    installed: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match=r"no pair of languages that Whisper knows in .*; on Debian: apt install"):
        installed(ECHO, mode="spa-arg")
    installed(ECHO).check_pair("en", "es")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="not installed; on Debian: apt install apertium"):
        open_apertium(TranslationConfig())


def test_an_apertium_that_is_too_old(installed: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translator = installed(ECHO)
    (tmp_path / "bin/apertium-wblank-mode").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(TranslationError, match=r"apertium-wblank-mode failed: exit status 3"):
        translator.translate(said("The cat"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TranslationError, match=r"expected bash and Apertium 3\.8 or newer"):
        translator.translate(said("The cat"))


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ("echo warning >&2; echo 'no dictionary' >&2; exit 1", "apertium has ended: no dictionary"),
        ("exit 7", "apertium has ended$"),
        ("read -r -d '' line; printf '%s' \"$line\"; kill -9 $$", "apertium has ended$"),
        ("printf '\\0'; sleep 1000", "apertium gave no translation"),
        ("printf 'one\\0two\\0'; sleep 1000", "apertium answered more than it was asked"),
        ("while :; do echo endless; done", "said more than 65536 bytes"),
    ],
)
def test_commands_that_fail_are_one_error_and_are_begun_again(commands: str, reason: str, installed: Commands) -> None:
    for _ in range(2):
        with pytest.raises(TranslationError, match=reason):
            installed(commands).translate(said("The cat"))


def test_what_is_said_after_a_failure_is_not_taken_for_the_next_sentence(installed: Commands, tmp_path: Path) -> None:
    """The first to run answers nothing in time, and something later; the next one answers at once."""
    translator = installed(f"[ -e {tmp_path}/ran ] || {{ touch {tmp_path}/ran; sleep 1000; }}; {ECHO}", 2.0)
    with pytest.raises(TranslationError, match="did not answer in time"):
        translator.translate(said("The dog"))
    assert text_of(translator, said("The cat")) == " The cat"
    assert text_of(translator, said("The cow")) == " The cow"


def test_complaints_without_end_harm_nobody(installed: Commands) -> None:
    translator = installed(ECHO.replace("printf", "head -c 1000000 /dev/zero >&2; printf"))
    assert [text_of(translator, said(f"cat {n}")) for n in range(3)] == [f" cat {n}" for n in range(3)]


def test_bytes_that_are_no_text_do_no_harm(installed: Commands) -> None:
    assert (
        text_of(installed("printf 'El\\377gato\\n\\n \\033duerme\\0'; sleep 1000"), said("cat"))
        == " El\ufffdgato duerme"
    )


@examples(60)
@given(st.lists(st.text(max_size=20), max_size=8))
def test_whatever_is_said_comes_back_from_commands_that_change_nothing(words: list[str]) -> None:
    text = " ".join(words)
    line = _one_line(text)
    assert _plain(_stream(line)[:-1]) == line
    assert _stream(line).count(b"\0") == 1


def test_text_is_bounded(installed: Commands) -> None:
    with pytest.raises(TranslationError, match="got a sentence of 3999 characters, expected at most 2000"):
        installed(ECHO).translate(said("cat " * 1000))
    assert text_of(installed(ECHO), said("^" * 2000)) == f" {'^' * 2000}"


@pytest.mark.parametrize("ends", ["wait", "exec >&- 2>&-; wait", "exit"])
def test_what_hangs_is_killed_with_all_that_it_started(ends: str, installed: Commands, tmp_path: Path) -> None:
    """All of them hold a pipe, which ends with the last of them."""
    os.mkfifo(tmp_path / "pipe")
    held = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        translator = installed(f"exec 3>{tmp_path}/pipe; sleep 1000 & sleep 1000 & {ends}", 0.5)
        with pytest.raises(TranslationError, match=r"did not answer in time, and was stopped|has ended"):
            translator.translate(said("The cat"))
        os.set_blocking(held, True)
        assert os.read(held, 1) == b""
    finally:
        os.close(held)


def test_its_processes_end_with_it(installed: Commands, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    held = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        translator = installed(f"exec 3>{tmp_path}/pipe; {ECHO}")
        assert text_of(translator, said("The cat")) == " The cat"
        del translator
        gc.collect()
        os.set_blocking(held, True)
        assert os.read(held, 1) == b""
    finally:
        os.close(held)


def test_many_threads_get_their_own_answers(installed: Commands) -> None:
    translator = installed(ECHO)
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda n: text_of(translator, said(f"cat {n}")), range(100)))
    assert texts == [f" cat {n}" for n in range(100)]


def test_it_is_told_nothing_but_what_it_needs(installed: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    line = text_of(installed("read -r -d '' line; printf '%s ' \"$@\"; env; printf '\\0'; cat"), said("The cat"))
    assert line.startswith(" -n ")
    assert "PATH=" in line
    assert "secret" not in line


def test_a_glossary_is_refused(installed: Commands) -> None:
    installed(ECHO)
    with pytest.raises(ConfigError, match="got a glossary, which apertium cannot be told"):
        open_apertium(TranslationConfig(glossary="terms.txt"))


def test_who_has_chosen_nothing_is_told_what_may_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BackendError, match=r"no translator is chosen, by --translation-model.*apertium is not installed"
    ):
        open_translator(TranslationConfig())
    with pytest.raises(BackendError, match=r"^the program apertium is not installed"):
        open_translator(TranslationConfig(backend="apertium"))
