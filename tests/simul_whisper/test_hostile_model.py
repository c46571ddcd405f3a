"""Models of true form that nobody trained: they are run to the end of the audio, whatever their numbers do."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simul_whisper import AlignAttConfig, ModelError, PaddedAlignAttWhisper, load_model
from simul_whisper.weights import Dims, model_directory
from tests.simul_whisper.weights import build

DIMS = Dims(80, 1500, 8, 2, 1, 51865, 448, 8, 4, 2)


def model(folder: Path, scale: float, dims: Dims = DIMS) -> Path:
    tensors = {name: np.clip(value / 6, -1, 1) * scale for name, value in build.random_tensors(dims, "float32").items()}
    build.write_mlx(folder, {name: value.astype(np.float32) for name, value in tensors.items()}, dims, heads=((1, 3),))
    shutil.copy(model_directory("base") / "tokenizer.json", folder)
    return folder


@pytest.mark.parametrize("backends", [("mlx", "mlx"), ("ctranslate2", "onnx")])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e38])
def test_any_finite_weights_run(backends: tuple[str, str], scale: float, tmp_path: Path) -> None:
    encoder, decoder = backends
    config = AlignAttConfig(model_path=str(model(tmp_path, scale)), encoder_backend=encoder, decoder_backend=decoder)
    whisper = PaddedAlignAttWhisper(config)
    whisper.insert_audio(np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32))
    update = whisper.infer(is_last=True)
    assert update.is_last


@pytest.mark.parametrize("change", [{"n_audio_ctx": 6}, {"n_text_ctx": 5}, {"n_mels": 4}])
def test_a_model_that_hears_or_writes_less_than_whisper_is_refused(change: dict[str, int], tmp_path: Path) -> None:
    (name,) = change
    with pytest.raises(ModelError, match=f"got {name} = "):
        load_model(AlignAttConfig(model_path=str(model(tmp_path, 1.0, replace(DIMS, **change)))))
