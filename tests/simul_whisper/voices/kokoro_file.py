"""A model with Kokoro's inputs, which says them back: the tokens, then the style, then the speed, all small."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from simul_whisper.voices.styles import STYLE_SHAPE

SCALE = 1 / 8192


def echo_model(tokens: str = "tokens", style: str = "style") -> bytes:
    """Return it as an ONNX file. tokens, style: what the inputs are called."""
    nodes = [
        helper.make_node("Cast", [tokens], ["t"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["t", "flat"], ["t1"]),
        helper.make_node("Reshape", [style, "flat"], ["s1"]),
        helper.make_node("Concat", ["t1", "s1", "speed"], ["all"], axis=0),
        helper.make_node("Mul", ["all", "scale"], ["audio"]),
    ]
    inputs = [
        helper.make_tensor_value_info(tokens, TensorProto.INT64, [1, "n"]),
        helper.make_tensor_value_info(style, TensorProto.FLOAT, [1, STYLE_SHAPE[1]]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    constants = [
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [SCALE]),
    ]
    output = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["m"])
    graph = helper.make_graph(nodes, "echo", inputs, [output], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def numbered_style(number: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """A style whose vector for n phonemes is full of n + 600 * number."""
    rows = np.arange(1, STYLE_SHAPE[0] + 1, dtype=np.float32) + 600 * number
    return np.repeat(rows[:, None], STYLE_SHAPE[1], axis=1)


def write_styles(folder: Path, *speakers: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, speaker in enumerate(speakers):
        (folder / f"{speaker}.bin").write_bytes(numbered_style(number).tobytes())
