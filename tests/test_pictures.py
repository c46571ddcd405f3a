"""The pictures of the README: small, asking nobody for anything, and made of what is really shown."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from simul_whisper import Model
from tests.conftest import Recording
from tests.listener import n_errors

pytest.importorskip("playwright", reason="needs playwright: pip install playwright")
pytest.importorskip("soundfile", reason="needs soundfile: pip install soundfile")

from scripts.pictures import PICTURES, terminal_picture

MOST_BYTES = 120_000


def text_of(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(each.itertext()).replace("\xa0", " ") for each in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("path", sorted(PICTURES.iterdir()), ids=lambda path: path.name)
def test_the_pictures_are_small_and_ask_nobody(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    if path.suffix == ".svg":
        assert not re.search(r"url\(.?http|href", path.read_text("utf-8"))


def test_the_terminal_shows_what_is_said(tiny: Model, captions: Recording) -> None:
    title, *lines = text_of(terminal_picture(tiny, captions.samples, from_s=4.0))
    shown, _, state = re.split("([●○])", " ".join(lines))
    said = " ".join(captions.transcript.split()[: len(shown.split())])
    assert title == "simul-whisper listen"
    assert len(shown.split()) > 5
    assert n_errors(said, shown) <= 2
    assert "s behind  en" in state
