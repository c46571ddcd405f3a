"""What every text decoder keeps, whatever runs it: however its steps are cut, reordered or batched, the numbers are
the same, and those of the others."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.decoder_package import convert_decoder
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.reference import ReferenceRuntime
from simul_whisper.decoders import BatchingDecoder, Step, TextDecoder, limits_of
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.decoders.onnx import OnnxDecoder
from simul_whisper.decoders.packages import open_decoder
from simul_whisper.decoders.prediction import Array
from simul_whisper.decoders.whisperkit import WhisperKitDecoder
from simul_whisper.encoders import Features
from simul_whisper.pieces import Read, Selection
from simul_whisper.reading import EncodedWindow
from simul_whisper.weights import Dims, Weights
from tests.fakes import answering
from tests.simul_whisper.weights import build

# Models of float16 round what they are given and what they answer, even if they compute in float32.
TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-3
DIMS = Dims(
    n_mels=80,
    n_audio_ctx=50,
    n_audio_state=64,
    n_audio_head=2,
    n_audio_layer=1,
    n_vocab=100,
    n_text_ctx=96,
    n_text_state=64,
    n_text_head=2,
    n_text_layer=3,
)
HEADS = ((2, 1), (0, 1), (2, 0))
TEXT = [7, 3, 99, 0, 41, 5, 5, 62]


def random_weights() -> Weights:
    """A small model, with numbers that do not overflow."""
    tensors = {name: (0.3 * tensor).astype(np.float16) for name, tensor in build.random_tensors(DIMS).items()}
    return Weights("small", DIMS, tensors, HEADS, Path(__file__), (Path(__file__),))


WEIGHTS = random_weights()
FEATURES = np.random.default_rng(1).standard_normal((DIMS.n_audio_ctx, DIMS.n_audio_state)).astype(np.float32)


def opened(package: Path) -> TextDecoder:
    return open_decoder(ReferenceRuntime(float16=False), package, describe(package), DIMS, HEADS)


def of_mlx(folder: Path) -> TextDecoder:  # noqa: ARG001
    return MlxDecoder(WEIGHTS, "cpu", "float32")


def of_onnx(folder: Path) -> TextDecoder:  # noqa: ARG001
    return OnnxDecoder(WEIGHTS, "float32")


def of_coreml(folder: Path, conversion: Conversion) -> TextDecoder:
    pytest.importorskip("coremltools", exc_type=ImportError)
    return opened(convert_decoder(WEIGHTS, folder, conversion).path)


def of_whisperkit(folder: Path) -> TextDecoder:
    pytest.importorskip("coremltools", exc_type=ImportError)
    from tests.simul_whisper.coreml.whisperkit import save_text_decoder

    return opened(save_text_decoder(WEIGHTS, folder / "TextDecoder.mlpackage", DIMS.n_text_ctx))


DECODERS: Mapping[str, Callable[[Path], TextDecoder]] = {
    "mlx": of_mlx,
    "onnx": of_onnx,
    "coreml-states": partial(of_coreml, conversion=Conversion(target="macOS15")),
    "coreml-inputs": partial(of_coreml, conversion=Conversion(precision="float32")),
    "whisperkit": of_whisperkit,
}


@pytest.fixture(scope="module", params=DECODERS)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextDecoder:
    return DECODERS[request.param](tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def reference() -> TextDecoder:
    return of_mlx(Path())


def window(decoder: TextDecoder, n_frames: int = 40) -> Features:
    return FEATURES if limits_of(decoder).whole_windows else FEATURES[:n_frames]


def heads_of(decoder: TextDecoder, attention: Array) -> Array:
    """What the decoder tells of attention by head."""
    return attention.mean(axis=1, keepdims=True) if isinstance(decoder, WhisperKitDecoder) else attention


def assert_same(decoder: TextDecoder, found: Step, expected: Step) -> None:
    tolerance = HALF_TOLERANCE if "float16" in getattr(decoder, "description", "") else TOLERANCE
    np.testing.assert_allclose(found.logits, expected.logits, atol=tolerance)
    np.testing.assert_allclose(found.attention, expected.attention, atol=tolerance)


def test_shapes_and_types_are_those_of_the_docstring(decoder: TextDecoder) -> None:
    features = window(decoder)
    step = decoder.step(decoder.begin(features), [TEXT, TEXT], logits_at=(0, 2, -1))
    assert step.logits.shape == (2, 3, DIMS.n_vocab)
    n_rows = 1 if isinstance(decoder, WhisperKitDecoder) else len(HEADS)
    assert step.attention.shape == (2, n_rows, len(TEXT), len(features))
    assert step.logits.dtype == step.attention.dtype == np.float32
    assert (step.attention >= 0).all()
    np.testing.assert_allclose(step.attention.sum(axis=-1), 1.0, atol=1e-3)


@pytest.mark.parametrize("n_frames", [1, 7, 33, DIMS.n_audio_ctx])
def test_all_decoders_say_the_same_of_windows_of_any_length(
    decoder: TextDecoder, reference: TextDecoder, n_frames: int
) -> None:
    features = window(decoder, n_frames)
    found = decoder.step(decoder.begin(features), [TEXT], range(len(TEXT)))
    expected = reference.step(reference.begin(features), [TEXT], range(len(TEXT)))
    assert_same(decoder, found, Step(expected.logits, heads_of(decoder, expected.attention)))


@pytest.mark.parametrize("sizes", [(1,) * 8, (3, 1, 4), (7, 1)])
def test_any_cutting_into_steps_equals_one_forward_pass(decoder: TextDecoder, sizes: tuple[int, ...]) -> None:
    whole = decoder.step(decoder.begin(window(decoder)), [TEXT], logits_at=range(len(TEXT)))
    assert sum(sizes) == len(TEXT)
    state, ends = decoder.begin(window(decoder)), np.cumsum(sizes)
    steps = [decoder.step(state, [TEXT[end - n : end]], logits_at=range(n)) for n, end in zip(sizes, ends, strict=True)]
    logits = np.concatenate([step.logits for step in steps], axis=1)
    assert_same(decoder, Step(logits, np.concatenate([step.attention for step in steps], axis=2)), whole)


def test_logits_are_those_of_the_positions_asked_for(decoder: TextDecoder) -> None:
    everywhere = decoder.step(decoder.begin(window(decoder)), [TEXT], logits_at=range(len(TEXT)))
    asked = decoder.step(decoder.begin(window(decoder)), [TEXT], logits_at=(3, -1, 0, 3))
    assert_same(decoder, asked, Step(everywhere.logits[:, [3, -1, 0, 3]], everywhere.attention))


def test_a_text_may_fill_all_positions(decoder: TextDecoder, reference: TextDecoder) -> None:
    state, other = decoder.begin(window(decoder)), reference.begin(window(decoder))
    for size in (50, 20, 1, DIMS.n_text_ctx - 71):
        tokens = [(TEXT * 7)[:size]]
        found, expected = decoder.step(state, tokens, range(size)), reference.step(other, tokens, range(size))
        assert_same(decoder, found, Step(expected.logits, heads_of(decoder, expected.attention)))


def test_several_beams_are_each_decoded_as_alone(decoder: TextDecoder) -> None:
    beams = [TEXT, TEXT[::-1], [TEXT[0]] * len(TEXT)]
    together = decoder.step(decoder.begin(window(decoder)), beams)
    alone = [decoder.step(decoder.begin(window(decoder)), [beam]) for beam in beams]
    logits = np.concatenate([step.logits for step in alone])
    assert_same(decoder, together, Step(logits, np.concatenate([step.attention for step in alone])))


def test_after_a_selection_the_chosen_beams_go_on_as_if_decoded_afresh(decoder: TextDecoder) -> None:
    beams, chosen, length, more = [TEXT, TEXT[::-1], [*TEXT[:4], *TEXT[:4]]], [2, 0, 2, 1], 5, TEXT[1:4]
    state = decoder.begin(window(decoder))
    decoder.step(state, beams)
    decoder.select(state, chosen, length)
    went_on = decoder.step(state, [more] * len(chosen))
    afresh = decoder.step(decoder.begin(window(decoder)), [[*beams[beam][:length], *more] for beam in chosen])
    assert_same(decoder, went_on, Step(afresh.logits, afresh.attention[:, :, length:]))


def test_beams_may_become_fewer_and_more_again(decoder: TextDecoder) -> None:
    """Those that are no more must not be seen in those that take their place."""
    state, texts = decoder.begin(window(decoder)), [TEXT, TEXT[::-1], TEXT[2:] + TEXT[:2]]
    decoder.step(state, texts)
    for chosen, more in (([1], [5]), ([0, 0, 0], [1, 2, 3]), ([2, 1], [7, 7]), ([1, 0, 1, 0], [9, 8, 7, 6])):
        decoder.select(state, chosen)
        texts = [[*texts[beam], token] for beam, token in zip(chosen, more, strict=True)]
        went_on = decoder.step(state, [[token] for token in more])
    afresh = decoder.step(decoder.begin(window(decoder)), texts)
    assert_same(decoder, went_on, Step(afresh.logits, afresh.attention[:, :, -1:]))


def test_one_beam_may_become_many(decoder: TextDecoder) -> None:
    state = decoder.begin(window(decoder))
    decoder.step(state, [TEXT[:-2]])
    decoder.select(state, [0, 0])
    went_on = decoder.step(state, [TEXT[-2:], TEXT[:2]])
    afresh = decoder.step(decoder.begin(window(decoder)), [TEXT, [*TEXT[:-2], *TEXT[:2]]])
    assert_same(decoder, went_on, Step(afresh.logits, afresh.attention[:, :, -2:]))


def test_another_text_is_read_from_the_same_window_as_if_it_were_the_first(decoder: TextDecoder) -> None:
    """Whatever the first was: longer, or of several beams."""
    features, answer = window(decoder), answering(decoder)
    encoded = EncodedWindow(decoder.begin(features), features, 40, limits_of(decoder))
    for first in ([TEXT * 9], [TEXT, TEXT[::-1], [TEXT[0]] * len(TEXT)], [TEXT[:1]]):
        answer(encoded.text(first[0][:1]))
        answer(Read(encoded.state, [beam[1:] or beam for beam in first], selection=Selection([0] * len(first), 1)))
        second = answer(encoded.text(TEXT)).value
        assert_same(decoder, second, decoder.step(decoder.begin(window(decoder)), [TEXT]))


def test_windows_decoded_in_turns_do_not_disturb_each_other(decoder: TextDecoder) -> None:
    alone = decoder.step(decoder.begin(window(decoder)), [TEXT])
    ours, theirs = decoder.begin(window(decoder)), decoder.begin(window(decoder)[::-1].copy())
    for token in TEXT[:-1]:
        decoder.step(ours, [[token]])
        decoder.step(theirs, [[token]])
    found = decoder.step(ours, [TEXT[-1:]])
    assert_same(decoder, found, Step(alone.logits, alone.attention[:, :, -1:]))


def test_what_was_returned_is_not_overwritten_by_the_next_step(decoder: TextDecoder) -> None:
    state = decoder.begin(window(decoder))
    first = decoder.step(state, [TEXT])
    kept = Step(first.logits.copy(), first.attention.copy())
    decoder.step(state, [TEXT])
    np.testing.assert_array_equal(first.logits, kept.logits)
    np.testing.assert_array_equal(first.attention, kept.attention)


def test_texts_of_several_windows_are_read_together_as_each_alone(reference: TextDecoder) -> None:
    """Of any shapes: windows, beams, new tokens, and what was read before. What fails has read nothing of any."""
    decoder = reference
    assert isinstance(decoder, BatchingDecoder)
    windows, befores = (40, 7, 33), ([TEXT], [TEXT[:1], TEXT[1:2]], [TEXT[:3]])
    news, asked = ([TEXT[:1]], [TEXT[:2], TEXT[2:4]], [TEXT[::-1]]), ((-1,), (0, 1), (3, -1, 0))
    together, alone = ([decoder.begin(window(decoder, n)) for n in windows] for _ in range(2))
    for state, text in zip([*together, *alone], befores * 2, strict=True):
        decoder.step(state, text)
    for _ in range(2):
        too_long = [news[0], [beam * DIMS.n_text_ctx for beam in news[1]], news[2]]
        with pytest.raises(ValueError, match="broadcast"):
            decoder.step_together(together, too_long, asked)
        found = decoder.step_together(together, news, asked)
        assert found is not None
        for step, one in zip(found, zip(alone, news, asked, strict=True), strict=True):
            assert_same(decoder, step, decoder.step(*one))
