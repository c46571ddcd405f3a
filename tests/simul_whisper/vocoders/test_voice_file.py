"""A voice's file is cut in two, and both halves together say what the whole says; strangers' files are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", exc_type=ImportError)

import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from simul_whisper import ShapeConversionError, UnsupportedSampleRateError, VocoderError, VocoderNotLoadedError
from simul_whisper.vocoders import VocoderFeatures, wire
from simul_whisper.vocoders.graph import Graph, find_hifigan
from simul_whisper.vocoders.mlx import MlxVocoder
from simul_whisper.vocoders.onnx import OnnxVocoder
from simul_whisper.vocoders.pieces import in_pieces
from simul_whisper.vocoders.voice_file import split_voice
from tests.hostile_files import damaged, grown_mb, only_our_errors
from tests.voice_files import N_SYMBOLS, Sizes, save_voice, voice_model

# Blocks of Piper's "high" voices: three units of two convolutions.
HIGH = ((3, ((1, 1), (3, 1), (5, 1))), (7, ((1, 1), (3, 1), (5, 1))))
VOICES = {
    "medium": Sizes(),
    "high": Sizes(blocks=HIGH),
    "speakers": Sizes(has_speakers=True),
    "one block, one stage": Sizes(strides=(8,), kernels=(16,), blocks=((3, ((1,),)),)),
    "kernels of no multiple of the stride": Sizes(strides=(4, 3), kernels=(10, 3)),
}


def run(model: bytes, inputs: dict[str, Any]) -> Any:
    """The first output of a model."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {each.name: inputs[each.name] for each in session.get_inputs()})[0]


def inputs_of(n: int) -> dict[str, Any]:
    return {"input": np.arange(n)[None] % N_SYMBOLS, "sid": np.array([2])}


@pytest.mark.parametrize("sizes", VOICES.values(), ids=VOICES)
def test_the_halves_say_what_the_whole_says(tmp_path: Path, sizes: Sizes) -> None:
    model = voice_model(sizes)
    voice = split_voice(save_voice(tmp_path / "voice.onnx", model, sizes.rate))
    whole = run(model.SerializeToString(), inputs_of(50)).reshape(-1)
    features = run(voice.front, inputs_of(50))
    assert features.shape == (1, voice.vocoder.n_features, 50)
    np.testing.assert_array_equal(run(voice.reference, {"features": features}).reshape(-1), whole)


@pytest.mark.parametrize("sizes", VOICES.values(), ids=VOICES)
def test_the_sizes_are_those_of_the_file(tmp_path: Path, sizes: Sizes) -> None:
    vocoder = split_voice(save_voice(tmp_path / "voice.onnx", voice_model(sizes), 22_050)).vocoder
    assert vocoder.rate == 22_050
    assert vocoder.hop == np.prod(sizes.strides)
    assert vocoder.n_features == (sizes.width if sizes.has_speakers else sizes.n_features)
    assert [stage.up.stride for stage in vocoder.stages] == list(sizes.strides)
    for stage in vocoder.stages:
        found = [
            (block[0][0].weight.shape[2], tuple(tuple(each.dilation for each in unit) for unit in block))
            for block in stage.blocks
        ]
        assert found == list(sizes.blocks)
    slopes = {round(layer.slope, 6) for layer in vocoder.layers()}
    assert slopes == ({0.1, 0.01} if sizes.has_speakers else {1, 0.1, 0.01})


@pytest.mark.parametrize("sizes", VOICES.values(), ids=VOICES)
def test_a_sample_depends_on_no_frame_beyond_the_reach(tmp_path: Path, sizes: Sizes) -> None:
    voice = split_voice(save_voice(tmp_path / "voice.onnx", voice_model(sizes)))
    reach, hop = voice.vocoder.reach_frames, voice.vocoder.hop
    features = np.random.default_rng(0).normal(size=(2 * reach + 21, voice.vocoder.n_features)).astype(np.float32)
    middle, other = slice((reach + 10) * hop, (reach + 11) * hop), features.copy()
    other[:10] = other[-10:] = 50
    vocoder = OnnxVocoder(voice.vocoder, voice.reference)
    np.testing.assert_array_equal(vocoder.decode(features)[middle], vocoder.decode(other)[middle])
    np.testing.assert_allclose(
        MlxVocoder(voice.vocoder, "cpu").decode(features), vocoder.decode(features), rtol=0, atol=1e-5
    )
    # Nor is it much larger than it must be: pieces of one frame would otherwise hide an error.
    assert reach <= 14 * len(sizes.strides)
    found = in_pieces(vocoder.decode, features, voice.vocoder, 1)
    np.testing.assert_allclose(found, vocoder.decode(features), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [0, 3, 11])
def test_a_branch_that_needs_the_vocoder_is_no_part_of_the_front(tmp_path: Path, n: int) -> None:
    """What stands in an inner graph reads names of the outer one: here the samples, or the features."""
    model = voice_model()
    name = model.graph.node[n].output[0]
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Abs", [name], ["inner"])], "branch", [], [output])
    always = helper.make_node("Constant", [], ["always"], value=numpy_helper.from_array(np.array(True)))
    choice = helper.make_node("If", ["always"], ["chosen"], then_branch=branch, else_branch=branch)
    model.graph.node.extend([always, choice])
    voice = split_voice(save_voice(tmp_path / "voice.onnx", model))
    kept = [each.op_type for each in onnx.load_from_string(voice.front).graph.node]
    assert ("If" in kept) == (n == 0)
    assert run(voice.front, inputs_of(5)).shape == (1, 6, 5)


def test_samples_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    vocoder = split_voice(save_voice(tmp_path / "voice.onnx", voice_model())).vocoder
    with pytest.raises(VocoderError, match="NaN or infinite"):
        in_pieces(lambda features: np.full(len(features) * vocoder.hop, np.nan, np.float32), features_of(3), vocoder)
    with pytest.raises(ShapeConversionError) as refused:
        in_pieces(lambda features: features[:, 0], features_of(3), vocoder)
    assert (refused.value.expected, refused.value.got) == ((24,), (3,))


def features_of(n_frames: int) -> VocoderFeatures:
    return np.zeros((n_frames, Sizes().n_features), np.float32)


def test_the_digest_says_what_is_computed(tmp_path: Path) -> None:
    vocoder = split_voice(save_voice(tmp_path / "voice.onnx", voice_model())).vocoder
    again = split_voice(save_voice(tmp_path / "again.onnx", voice_model())).vocoder
    assert vocoder.digest() == again.digest() != vocoder.digest("float16")
    finer = replace(vocoder, post=replace(vocoder.post, bias=vocoder.post.bias + np.float32(1e-9)))
    assert finer.digest() != vocoder.digest()
    assert finer.digest("float16") == vocoder.digest("float16")
    for other in (replace(vocoder, rate=8000), replace(vocoder, post=replace(vocoder.post, slope=0.2))):
        assert other.digest() != vocoder.digest()


def weights_outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[-1]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def constant_outside(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["outside"], value=tensor))


def constant_in_a_branch_outside(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    output = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    branch = helper.make_graph([], "branch", [], [output], [tensor])
    node = helper.make_node("If", ["input"], ["outside"], then_branch=branch, else_branch=branch)
    model.graph.node.insert(0, node)


def sparse_constant(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32))
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64)), [1])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["sparse"], sparse_value=sparse))


def other_weights(values: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(values, model.graph.initializer[1].name))

    return change


def other_attribute(operator: str, name: str, value: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        node = next(each for each in model.graph.node if each.op_type == operator)
        kept = [each for each in node.attribute if each.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def in_a_circle(model: onnx.ModelProto) -> None:
    """The first convolution of a block reads what the block gives."""
    adds = [each for each in model.graph.node if each.op_type == "Add"]
    adds[0].input[1] = adds[1].output[0]


FOREIGN: dict[str, Callable[[onnx.ModelProto], Any]] = {
    "no graph": lambda model: model.ClearField("graph"),
    "no nodes": lambda model: model.graph.ClearField("node"),
    "no weights": lambda model: model.graph.ClearField("initializer"),
    "weights outside": weights_outside,
    "constant outside": constant_outside,
    "constant in a branch outside": constant_in_a_branch_outside,
    "sparse constant": sparse_constant,
    "weights of two dimensions": other_weights(np.ones((16, 6), np.float32)),
    "weights of integers": other_weights(np.ones((16, 6, 7), np.int64)),
    "weights that are no numbers": other_weights(np.full((16, 6, 7), np.nan, np.float32)),
    "weights of another width": other_weights(np.ones((8, 6, 7), np.float32)),
    "no weights at all": other_weights(np.ones((0, 6, 7), np.float32)),
    "an even kernel": other_weights(np.ones((16, 6, 8), np.float32)),
    "groups": other_attribute("Conv", "group", 2),
    "other padding": other_attribute("Conv", "pads", [0, 6]),
    "padding by itself": other_attribute("Conv", "auto_pad", "SAME_UPPER"),
    "an output of its own shape": other_attribute("ConvTranspose", "output_shape", [100]),
    "no dilation": other_attribute("Conv", "dilations", [1, 1]),
    "dilation of another type": other_attribute("Conv", "dilations", "x"),
    "stride of another type": other_attribute("ConvTranspose", "strides", 1.5),
    "slope of another type": other_attribute("LeakyRelu", "alpha", [1, 2]),
    "huge dilation": other_attribute("Conv", "dilations", [2**40]),
    "stride 0": other_attribute("ConvTranspose", "strides", [0]),
    "huge stride": other_attribute("ConvTranspose", "strides", [2**62]),
    "output padding": other_attribute("ConvTranspose", "output_padding", [1]),
    "slope that is no number": other_attribute("LeakyRelu", "alpha", float("nan")),
    "in a circle": in_a_circle,
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_hifigan_is_refused_in_a_line(tmp_path: Path, change: Callable[[onnx.ModelProto], Any]) -> None:
    model = voice_model()
    change(model)
    path = save_voice(tmp_path / "voice.onnx", model)
    with only_our_errors(), pytest.raises(VocoderNotLoadedError, match="not a Piper voice with a HiFi-GAN"):
        split_voice(path)


@pytest.mark.parametrize("rate", [0, 7999, 48_001, -1, True, None, "22050", 22050.0, 1e400, [], 10**300])
def test_an_impossible_rate_is_refused(tmp_path: Path, rate: object) -> None:
    path = save_voice(tmp_path / "voice.onnx", voice_model(), rate)
    with only_our_errors(), pytest.raises(UnsupportedSampleRateError, match="expected 8000 to 48000 Hz"):
        split_voice(path)


@pytest.mark.parametrize("said", ["", "[]", "{", '{"audio": 3}', "[" * 100_000, json.dumps({"audio": []})])
def test_settings_that_say_no_rate_are_refused(tmp_path: Path, said: str) -> None:
    path = save_voice(tmp_path / "voice.onnx", voice_model())
    path.with_name("voice.onnx.json").write_text(said, "utf-8")
    with only_our_errors(), pytest.raises((VocoderNotLoadedError, UnsupportedSampleRateError)):
        split_voice(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(VocoderNotLoadedError, match=r"voice\.onnx\.json: cannot be read"):
        split_voice(tmp_path / "voice.onnx")
    save_voice(tmp_path / "voice.onnx", voice_model()).unlink()
    with pytest.raises(VocoderNotLoadedError, match=r"voice\.onnx: cannot be read: No such file"):
        split_voice(tmp_path / "voice.onnx")
    (tmp_path / "voice.onnx").mkdir()
    with pytest.raises(VocoderNotLoadedError, match="cannot be read"):
        split_voice(tmp_path / "voice.onnx")


SMALL = voice_model(Sizes(width=4, strides=(2,), kernels=(4,), blocks=((3, ((1,),)),))).SerializeToString()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = save_voice(tmp_path_factory.getbasetemp() / "damaged.onnx", data.draw(damaged(SMALL)))
    with only_our_errors():
        voice = split_voice(path)
        OnnxVocoder(voice.vocoder, voice.reference)


def message(number: int, content: bytes) -> bytes:
    return b"".join(wire.message(number, content))


# A field of no content takes two bytes in a file, and as a message in memory a hundred times as many.
FLOODS = {
    "fields of the model": b"\x0a\x00" * (10 << 20),
    "nodes": message(7, b"\x0a\x00" * (10 << 20)),
    "attributes of a node": message(7, message(1, b"\x2a\x00" * (10 << 20))),
    "dimensions of a tensor": message(7, message(5, b"\x08\x01" * (10 << 20))),
    "packed dimensions": message(7, message(5, message(1, b"\x01" * (20 << 20)))),
    "numbers of a tensor": message(7, message(5, message(7, b"\x01" * (20 << 20)))),
}
READS = """import sys, pathlib, simul_whisper.vocoders.voice_file as v, simul_whisper.errors as e
try:
    v.split_voice(pathlib.Path(sys.argv[1]))
except e.VocoderNotLoadedError:
    assert sys.argv[2] == "refused"
else:
    assert sys.argv[2] == "read"
"""


@pytest.mark.parametrize("content", FLOODS.values(), ids=FLOODS)
def test_files_of_many_small_things_take_little_memory(tmp_path: Path, content: bytes) -> None:
    path = save_voice(tmp_path / "voice.onnx", content)
    assert grown_mb(READS, path, "refused") < 3 * len(content) / 1e6


def test_a_voice_takes_twice_its_size_while_it_is_read(tmp_path: Path) -> None:
    model = voice_model()
    # The front uses all of it.
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((3 << 20, 6), np.float32), model.graph.initializer[0].name)
    )
    path = save_voice(tmp_path / "voice.onnx", model)
    assert grown_mb(READS, path, "read") < 2.3 * path.stat().st_size / 1e6


def test_weights_that_are_named_more_often_than_stored_are_counted_as_often() -> None:
    """Sixteen kernels of 64 MB that a file may hold once, or which here take no memory at all."""
    graph = voice_model(Sizes(width=2, strides=(2,), kernels=(4,), blocks=((63, ((1,),) * 8),) * 2)).graph
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and weights[node.input[1]].shape == (1, 1, 63):
            weights[node.input[1]] = np.broadcast_to(np.float32(0), (512, 512, 63))
            weights[node.input[2]] = np.zeros(512, np.float32)
    with pytest.raises(ValueError, match="more than 67108864 weights"):
        find_hifigan(Graph(tuple(graph.node), weights), 16_000)


def test_a_mean_of_other_shares_is_refused(tmp_path: Path) -> None:
    model = voice_model()
    constant = next(each for each in model.graph.node if each.op_type == "Constant")
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(3, np.float32)))
    with pytest.raises(VocoderNotLoadedError, match="the mean of its blocks"):
        split_voice(save_voice(tmp_path / "voice.onnx", model))
