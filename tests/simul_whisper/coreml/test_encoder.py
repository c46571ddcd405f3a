"""The Core ML encoder over models of every layout in circulation, which are told apart by their descriptions."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import EncoderNotLoadedError, ShapeConversionError
from simul_whisper.coreml.description import Description, Feature, Range
from simul_whisper.coreml.runtime import CoreMLState
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.mel import Mel, silence_in
from simul_whisper.weights import Dims

DIMS = Dims(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)
OURS = Description(
    Path("ggml-tiny.en-encoder.mlpackage"),
    (Feature("logmel_data", ((1, 80, 3000), (1, 80, 500), (1, 80, 1000)), "float32"),),
    (Feature("output", (), "float32"),),
    {"precision": "float16", "quantize": "none"},
    0,
)
WHISPER_CPP = Description(
    Path("ggml-tiny.en-encoder.mlmodelc"),
    (Feature("logmel_data", ((1, 80, 3000),), "float32"),),
    (Feature("output", ((1, 1500, 384),), "float32"),),
    {},
    0,
)
# Somebody's, converted with ct.RangeDim(): the default length is 1, and there is no upper bound.
RANGED = replace(
    WHISPER_CPP, inputs=(Feature("logmel_data", ((1, 80, 1),), "float32", ((1, 1), (80, 80), (101, None))),)
)
WHISPERKIT = Description(
    Path("AudioEncoder.mlmodelc"),
    (Feature("melspectrogram_features", ((1, 80, 1, 3000),), "float16"),),
    (Feature("encoder_output_embeds", ((1, 384, 1, 1500),), "float16"),),
    {"computePrecision": "Mixed (Float16, Int32)"},
    0,
)


def ranged_of(*ranges: Range) -> Description:
    return replace(RANGED, inputs=(replace(RANGED.inputs[0], ranges=ranges),))


@dataclass
class Echo:
    """Answers, for each frame, the mean of its two mel columns in every channel. asked: the inputs it got."""

    description: Description
    asked: list[NDArray[Any]] = field(default_factory=list)

    def make_state(self) -> CoreMLState:
        raise RuntimeError("an encoder has no states")

    def predict(
        self,
        inputs: dict[str, NDArray[Any]],
        state: CoreMLState | None = None,  # noqa: ARG002
    ) -> dict[str, NDArray[Any]]:
        [(name, mel)] = inputs.items()
        feature = self.description.inputs[0]
        assert (name, mel.dtype.name) == (feature.name, feature.dtype)
        assert feature.accepts(mel.shape)
        self.asked.append(mel)
        frames = mel.reshape(80, -1, 2).mean(axis=(0, 2))
        rows = np.repeat(frames[:, None], DIMS.n_audio_state, axis=1)
        answer = rows.T[None, :, None] if mel.ndim == 4 else rows[None]
        return {self.description.outputs[0].name: answer.astype(mel.dtype)}


def mel_of(n_hops: int) -> Mel:
    columns = np.repeat(np.linspace(-0.5, 1.0, n_hops // 2, dtype=np.float32), 2)
    return Mel(np.repeat(columns[None], 80, axis=0), n_hops // 2)


@pytest.mark.parametrize(
    "description",
    [OURS, WHISPER_CPP, WHISPERKIT, RANGED],
    ids=["ours", "whisper.cpp", "whisperkit", "ranged"],
)
@pytest.mark.parametrize("n_hops", [2, 500, 502, 3000])
def test_every_layout_gives_one_vector_per_frame_of_the_window(description: Description, n_hops: int) -> None:
    features = CoreMLEncoder(Echo(description), description, DIMS).encode(mel_of(n_hops))
    assert features.shape == (n_hops // 2, 384)
    assert features.dtype == np.float32
    expected = np.linspace(-0.5, 1.0, n_hops // 2)
    np.testing.assert_allclose(features[:, 7], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("description", "n_hops", "sent"),
    [
        (OURS, 2, 500),
        (OURS, 500, 500),
        (OURS, 502, 1000),
        (OURS, 1002, 3000),
        (RANGED, 2, 102),
        (RANGED, 102, 102),
        (RANGED, 502, 502),
        (RANGED, 3000, 3000),
    ],
)
def test_the_shortest_window_that_fits_is_filled_with_silence(description: Description, n_hops: int, sent: int) -> None:
    model = Echo(description)
    mel = mel_of(n_hops)
    CoreMLEncoder(model, description, DIMS).encode(mel)
    [asked] = model.asked
    assert asked.shape == (1, 80, sent)
    assert (asked[:, :, n_hops:] == np.float32(silence_in(mel))).all()


@pytest.mark.parametrize(
    ("description", "said"),
    [(OURS, "coreml (float16, ALL)"), (WHISPERKIT, "coreml (Mixed (Float16, Int32), ALL)")],
)
def test_the_description_says_which_numbers(description: Description, said: str) -> None:
    assert CoreMLEncoder(Echo(description), description, DIMS).description == said


def test_a_quantized_package_says_so() -> None:
    description = replace(OURS, metadata={"precision": "float16", "quantize": "int8"})
    assert CoreMLEncoder(Echo(description), description, DIMS, "CPU_AND_NE").description == "coreml (int8, CPU_AND_NE)"


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        (replace(WHISPER_CPP, inputs=(Feature("logmel_data", ((1, 128, 3000),), "float32"),)), "128 mel bins"),
        (ranged_of((1, 1), (128, 128), (1, 3000)), "128 mel bins"),
        (ranged_of((1, 1), (80, 80), (3002, None)), r"got an input of \(1, 80, 3002 or more\)"),
        (ranged_of((2, 4), (80, 80), (1, 3000)), r"got an input of \(2 to 4, 80, 1 to 3000\)"),
        (ranged_of((1, 1), (80, 80), (1, 1)), r"expected \(1, 80, at most 3000\)"),
        (ranged_of((1, 1), (1, 3000)), r"expected \(1, n_mels, n_hops\)"),
        (replace(WHISPER_CPP, outputs=(Feature("output", ((1, 1500, 512),), "float32"),)), "width 512, expected 384"),
        (replace(WHISPERKIT, outputs=(Feature("output", ((1, 512, 1, 1500),), "float16"),)), "width 512, expected 384"),
        (replace(WHISPER_CPP, inputs=(Feature("logmel_data", (), "float32"),)), "expected \\(1, n_mels, n_hops\\)"),
        (replace(WHISPER_CPP, inputs=(Feature("logmel_data", ((1, 80, 3000),), "int32"),)), "int32"),
        (replace(WHISPER_CPP, inputs=()), "got inputs none, expected one"),
        (
            replace(WHISPER_CPP, inputs=(Feature("a", ((1, 80, 3000),), "float32"), Feature("b", (), "float32"))),
            "got inputs a, b, expected one",
        ),
    ],
)
def test_what_is_no_encoder_of_this_model_is_refused(description: Description, complaint: str) -> None:
    with pytest.raises(EncoderNotLoadedError, match=complaint):
        CoreMLEncoder(Echo(description), description, DIMS)


def test_an_answer_of_another_width_is_refused() -> None:
    with pytest.raises(ShapeConversionError) as caught:
        CoreMLEncoder(Echo(OURS), OURS, replace(DIMS, n_audio_state=512)).encode(mel_of(500))
    assert (caught.value.expected, caught.value.got) == ((1, 250, 512), (1, 250, 384))
