"""espeak-ng as a program: the real one where it is installed, and others of its name that do harm."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from simul_whisper import BackendError, VoiceError
from simul_whisper.voices import espeak
from simul_whisper.voices.espeak import Espeak

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
# What it was called with and told, as JSON, and then something in IPA.
ECHO = """#!/usr/bin/env python3
import json, os, sys
said = sys.stdin.read()
print(json.dumps([sys.argv[1:], said, os.getcwd(), sorted(os.environ)]), file=open({log!r}, "a"))
print("a")
"""


def install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a program of this name the one that is found."""
    file = folder / "espeak-ng"
    file.write_text(script, "utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world.", "həlˈoʊ, wˈɜːld."),
        ("Dr. Smith came at 10:30.", "dˈɑːktɚ smˈɪθ kˈeɪm æt tˈɛn θˈɜːɾi."),
        ("He said “yes.”", "hiː sˈɛd jˈɛs."),
        ("What?! No...", "wˈʌt? nˈoʊ."),
        ("one — two – three - four", "wˈʌn— tˈuː, θɹˈiː, fˈoːɹ"),
        ("3.5", "θɹˈiː pɔɪnt fˈaɪv"),
        ("10,000", "tˈɛn θˈaʊzənd"),
        ("", ""),
        ("... , !", ""),
    ],
)
@needs_espeak
def test_it_reads_numbers_and_abbreviations_and_keeps_punctuation(text: str, expected: str) -> None:
    assert Espeak("en-us").phonemes(text) == expected


@needs_espeak
def test_other_languages_are_marked_by_nothing() -> None:
    assert "(" not in Espeak("fr-fr").phonemes("le weekend de John")


@needs_espeak
@pytest.mark.parametrize("text", ["[[h@l@U]]", "<speak>hi</speak>", "a\x00b\x1bc", "\ud800 hi", "(en)hi(fr)", "|hi\\"])
def test_text_steers_nothing(text: str) -> None:
    said = Espeak("en-us").phonemes(text)
    assert said
    assert not set(said) & set("[]<>()|\\_@U\x00")


def test_text_is_no_option_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    install(tmp_path, ECHO.format(log=str(log)), monkeypatch)
    monkeypatch.setenv("SECRET_OF_OURS", "1")
    reader = Espeak("en-us")
    for text in ("--help", "-f /etc/passwd", "/etc/passwd", "; rm x"):
        assert reader.phonemes(text) == "a"
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert [said for _, said, _, _ in calls] == ["1", "--help", "-f /etc/passwd", "/etc/passwd", " rm x"]
    for arguments, _, folder, environment in calls:
        assert arguments == ["-q", "--ipa", "-b", "1", "-v", "en-us", "--stdin"]
        assert folder == "/"
        assert "SECRET_OF_OURS" not in environment


@pytest.mark.parametrize("voice", ["../x", "-f", "en us", "/etc/passwd", "", "EN", "en-us+f3", "a" * 99])
def test_a_voice_is_a_name(voice: str) -> None:
    with pytest.raises(BackendError, match="expected a name such as en-us"):
        Espeak(voice)


@needs_espeak
def test_an_unknown_voice_is_told() -> None:
    with pytest.raises(BackendError, match="cannot read with its voice xx"):
        Espeak("xx")


def test_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match=r"apt install espeak-ng.*brew install espeak-ng"):
        Espeak("en-us")


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("exec sleep 60", "did not answer within"),
        # A program that calls another, which holds the pipe.
        ("sleep 60; exit 0", "did not answer within"),
        ("exec yes", "far too much"),
        ("exit 3", "exit status 3"),
        ("kill -SEGV $$", "exit status -11"),
    ],
)
def test_a_program_that_misbehaves_is_stopped_and_told(
    then: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first call, which is ours, is answered.
    first = f"[ -e {tmp_path}/called ] || {{ touch {tmp_path}/called; echo a; exit 0; }}"
    install(tmp_path, f"#!/bin/sh\n{first}\n{then}\n", monkeypatch)
    monkeypatch.setattr(espeak, "_TIMEOUT_S", 0.5)
    reader = Espeak("en-us")
    with pytest.raises(VoiceError, match=expected):
        reader.phonemes("hello")


def test_a_phrase_has_a_most_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, ECHO.format(log=str(tmp_path / "log")), monkeypatch)
    with pytest.raises(VoiceError, match="expected at most 2000"):
        Espeak("en-us").phonemes("a" * 2001)
