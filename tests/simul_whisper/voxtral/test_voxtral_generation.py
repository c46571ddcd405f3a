"""Voxtral in MLX against Transformers and mistral-common, whose answers are in tests/data/voxtral_reference.npz.

scripts/voxtral_reference.py made them; where Transformers is installed, it is asked again.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.voxtral_reference import CASES, HEAD, N_TOKENS, Case, windows, write_model
from simul_whisper.audio import SAMPLE_RATE
from simul_whisper.blas import mx
from simul_whisper.decoders import Step
from simul_whisper.errors import AudioFormatError
from simul_whisper.mel import Mel, log_mels
from simul_whisper.progress import Progress, Stage
from simul_whisper.voxtral.checkpoint import open_voxtral
from simul_whisper.voxtral.encoder import MlxVoxtralEncoder
from simul_whisper.voxtral.generation import (
    Ending,
    Generation,
    Written,
    generated,
    question_prompt,
    transcript_prompt,
)
from simul_whisper.voxtral.language import MlxLanguage, Prompt
from simul_whisper.voxtral.tekken import TekkenTokenizer
from simul_whisper.voxtral.tokenizer import VoxtralTokenizer
from tests import fixture_voxtral
from tests.voxtral_files import DIMS, SPECIAL

ROOT = Path(__file__).parents[3]
ANSWERS = ROOT / "tests/data/voxtral_reference.npz"
AUDIO = SPECIAL.index("[AUDIO]")
Answers = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("voxtral"))


@pytest.fixture(scope="module")
def generation(directory: Path) -> Generation:
    weights = open_voxtral("small", directory)
    tokenizer = VoxtralTokenizer(TekkenTokenizer(weights.tokenizer_file, weights.dims.n_vocab))
    return Generation(MlxVoxtralEncoder(weights), MlxLanguage(weights, heads=(HEAD,)), tokenizer)


@pytest.fixture(scope="module")
def prompts(generation: Generation) -> Mapping[str, Prompt]:
    return {name: prompt_of(generation, case) for name, case in CASES.items()}


def prompt_of(generation: Generation, case: Case) -> Prompt:
    mels = (Mel(each, generation.language.dims.n_audio_ctx) for each in windows(case.n_windows))
    features = np.concatenate([generation.encoder.encode(each) for each in mels])
    if case.question is None:
        return transcript_prompt(generation.tokenizer, features, case.language)
    return question_prompt(generation.tokenizer, features, case.question)


def check(answers: Answers, name: str, generation: Generation, prompt: Prompt) -> None:
    audio = [AUDIO] * len(prompt.features)
    assert [*prompt.before, *audio, *prompt.after] == answers[f"{name}.prompt"].tolist()
    tokens = answers[f"{name}.tokens"].tolist()
    assert list(generated(generation.language, prompt, N_TOKENS)) == tokens
    text = generation.language.begin(replace(prompt, after=prompt.after[:-1]))
    step = generation.language.step(text, [[prompt.after[-1], *tokens[:-1]]], range(N_TOKENS))
    assert np.abs(step.logits[0] - answers[f"{name}.logits"]).max() < 1e-3
    looked = answers[f"{name}.look"][:, text.audio]
    assert looked.max() > 0.2
    assert np.abs(step.attention[0, 0] - looked).max() < 1e-4


@pytest.mark.parametrize("name", CASES)
def test_prompts_tokens_logits_and_attention_are_those_of_the_originals(
    name: str, generation: Generation, prompts: Mapping[str, Prompt]
) -> None:
    check(np.load(ANSWERS), name, generation, prompts[name])


@pytest.mark.long
def test_the_originals_still_say_so(directory: Path, tmp_path: Path, generation: Generation) -> None:
    """TRANSFORMERS_PYTHON: an interpreter that has them, where this one has not."""
    python = os.environ.get("TRANSFORMERS_PYTHON", sys.executable)
    if subprocess.run(
        [python, "-c", "import torch, transformers, mistral_common"], capture_output=True, check=False
    ).returncode:
        pytest.skip("torch, transformers or mistral-common is not installed")
    file = tmp_path / "answers.npz"
    command = [python, "-m", "scripts.voxtral_reference", "answers", str(directory), str(file)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for name, case in CASES.items():
        check(np.load(file), name, generation, prompt_of(generation, case))


def test_a_recording_is_heard_in_windows_of_30_s(generation: Generation) -> None:
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, 31 * SAMPLE_RATE).astype(np.float32)
    reports = list[Progress]()
    features = generation.features(samples, reports.append)
    assert features.shape == (2 * 375, DIMS.n_text_state)
    np.testing.assert_array_equal(features[375:], generation.encoder.encode(log_mels(samples, 128)[1]))
    assert [(each.stage, each.done, each.total) for each in reports] == [(Stage.HEARING, n, 2) for n in range(3)]


def test_a_recording_that_cannot_be_read_is_refused_before_it_is_heard(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AudioFormatError, match=r"^got a recording of 331 s, expected at most the 300 s that the model"):
        generation.features(np.zeros(331 * SAMPLE_RATE, np.float32))
    with pytest.raises(AudioFormatError, match="got no audio"):
        generation.features(np.zeros(0, np.float32))
    text = generation.language.begin(Prompt((1,), np.zeros((64, DIMS.n_text_state), np.float32), ()))
    stored = [mx.array(each) for cache in text.caches for each in cache.append(*[mx.zeros((1, 2, 0, 24))] * 2)]
    assert sum(each.nbytes for each in stored) == 65 * generation.language.position_bytes
    monkeypatch.setattr("simul_whisper.voxtral.generation.available_memory", lambda: 1_000)
    with pytest.raises(AudioFormatError, match=r"^got a recording of 9 s, for which .* and 0.0 GB are free; give"):
        generation.features(np.zeros(9 * SAMPLE_RATE, np.float32))


class Script:
    """A language model that writes what it is told to."""

    dims = DIMS

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = iter(tokens)

    def begin(self, prompt: Prompt) -> None:
        pass

    def step(self, text: None, tokens: Sequence[Sequence[int]]) -> Step:  # noqa: ARG002
        logits = np.zeros((1, 1, DIMS.n_vocab), np.float32)
        logits[0, 0, next(self._tokens)] = 1
        return Step(logits, np.zeros((1, 0, 1, 0), np.float32))


@pytest.mark.parametrize(
    ("most_tokens", "pieces"),
    [
        (99, [Written(" "), Written("👌"), Written("said"), Written("", Ending.WHOLE)]),
        (6, [Written(" "), Written("👌"), Written("said"), Written("", Ending.CUT)]),
        (4, [Written(" "), Written("�", Ending.CUT)]),
    ],
)
def test_characters_are_whole_and_the_end_is_told(
    generation: Generation, most_tokens: int, pieces: list[Written]
) -> None:
    tokenizer = generation.tokenizer
    tokens = [*tokenizer.encode(" 👌"), *tokenizer.encode("said"), tokenizer.eot]
    script = replace(generation, language=cast("MlxLanguage", Script(tokens)))
    features = np.zeros((375, DIMS.n_text_state), np.float32)
    assert list(script.answer(features, "?", most_tokens)) == pieces


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_trained_model_writes_what_was_said(language: str) -> None:
    speech = fixture_voxtral.held_out(1, spoken=language)
    generation = fixture_voxtral.model().generation()
    *pieces, last = generation.transcript(generation.features(speech.samples), language)
    assert "".join(each.text for each in pieces) == speech.text
    assert last == Written("", Ending.WHOLE)
