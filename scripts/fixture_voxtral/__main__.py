"""Train the fixture Voxtral: `python -m scripts.fixture_voxtral DIRECTORY` (minutes, on one core).

It writes a directory as Hugging Face has them of Voxtral: config.json, model.safetensors and tekken.json. The one in
tests/data/voxtral was made so. It learns in three stages, each of which is kept in a file and gone on with: to hear
chords, to write their words, and to do so in any part of a window.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

# First, so that MLX finds a fast BLAS.
from simul_whisper.blas import mx  # isort: split

import numpy as np
from numpy.typing import NDArray

from scripts.fixture_voxtral import vocabulary
from scripts.fixture_voxtral.examples import Window, batches, window
from scripts.fixture_voxtral.language import N_WORDS
from scripts.fixture_voxtral.network import Dims, Parameters, cells, new_parameters
from scripts.fixture_voxtral.saving import save
from scripts.fixture_voxtral.training import Training, heard_batch, hearing_loss, writing_loss
from simul_whisper.mel import log_mel

_N_WINDOWS, _N_FIRST_WINDOWS, _N_TOGETHER = 1600, 640, 16
_RATE, _LOWER_RATE = 4e-3, 1.5e-3
_SHARE_CUT = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where to put the model")
    parser.add_argument("--hearing-steps", type=int, default=200)
    parser.add_argument("--writing-steps", type=int, default=1200)
    parser.add_argument("--cutting-steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop then; run again to go on")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    work = given.directory / "training"
    work.mkdir(exist_ok=True)
    deadline = time.monotonic() + 60 * given.minutes
    dims = Dims(vocabulary.write(given.directory / "tekken.json"))
    rng = np.random.default_rng(given.seed)
    for_training = {
        name: mx.array(rng.normal(0, 0.1, (N_WORDS + 1, dims.n_state)), mx.float32) for name in ("classes", "before")
    }
    hearing = Training(work / "hearing.safetensors", given.hearing_steps, _RATE, deadline)
    heard = hearing.run(
        new_parameters(dims, given.seed) | for_training, lambda step: heard_batch(step, given.seed), hearing_loss(dims)
    )
    windows = [window(random.Random(f"{given.seed} {n}")) for n in range(_N_WINDOWS)]
    if not hearing.is_done:
        return
    features = _features(work / "features.npy", heard, dims, windows)
    encoder = {name: value for name, value in heard.items() if name.startswith("audio_tower.")}
    learned = {name: value for name, value in heard.items() if name not in encoder}
    for name, n_steps, rate, n_windows, share_cut in (
        ("writing", given.writing_steps, _RATE, _N_FIRST_WINDOWS, 0.0),
        ("cutting", given.cutting_steps, _LOWER_RATE, _N_WINDOWS, _SHARE_CUT),
    ):
        stage = Training(work / f"{name}.safetensors", n_steps, rate, deadline)
        plan = list(batches(windows[:n_windows], _N_TOGETHER, n_steps, given.seed, share_cut))
        learned = stage.run(learned, plan.__getitem__, writing_loss(dims, features))
        if not stage.is_done:
            return
    save(given.directory, dims, encoder | {name: each for name, each in learned.items() if name not in for_training})


def _features(file: Path, parameters: Parameters, dims: Dims, windows: Sequence[Window]) -> NDArray[np.float16]:
    """Return what the projector reads of all windows, float16 (n_windows, 375, n_cell)."""
    if not file.exists():
        mels = (mx.array(log_mel(each.samples, dims.n_mels).columns.T)[None] for each in windows)
        np.save(file, np.concatenate([np.array(cells(parameters, dims, mel).astype(mx.float16)) for mel in mels]))
    found: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return found


if __name__ == "__main__":
    main()
