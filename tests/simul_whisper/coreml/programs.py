"""A small program, built by hand and saved by coremltools; tests that import this are skipped without it."""

import gc
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

logging.getLogger("coremltools").setLevel(logging.ERROR)
ct = pytest.importorskip("coremltools", exc_type=ImportError)

from coremltools.converters.mil import Builder as mb  # noqa: E402, N813
from coremltools.converters.mil.mil import get_new_symbol  # noqa: E402

__all__ = ["BIAS", "LENGTH", "WEIGHT", "Array", "X", "ct", "expected", "mb", "network", "saved"]

Array = NDArray[np.float32]
LENGTH = 20
WEIGHT = np.random.default_rng(1).standard_normal((64, 8, 1, 3)).astype(np.float32)
BIAS = np.linspace(-1, 1, 64, dtype=np.float32)
X = np.random.default_rng(2).standard_normal((1, 8, LENGTH)).astype(np.float32)


def network(x: Any) -> Any:
    """A convolution, then the square of what is positive, halves changing places."""
    x = mb.conv(x=mb.expand_dims(x=x, axes=[2]), weight=WEIGHT, bias=BIAS, pad_type="custom", pad=[0, 0, 1, 1])
    first, second = mb.split(x=mb.relu(x=x), num_splits=2, axis=1)
    x = mb.squeeze(x=mb.concat(values=[second, first], axis=1), axes=[2])
    return mb.transpose(x=mb.mul(x=x, y=x), perm=[0, 2, 1], name="y")


def expected(x: Array, weight: Array = WEIGHT) -> Array:
    """The same in NumPy's own words."""
    padded = np.pad(x[0], [(0, 0), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=1)
    convolved = np.einsum("ock,clk->lo", weight[:, :, 0], windows) + BIAS
    activated: Array = np.maximum(np.roll(convolved, 32, axis=1), 0)
    return np.square(activated)[None]


def saved(
    folder: Path,
    build: Callable[[Any], Any] = network,
    precision: str = "FLOAT32",
    target: str = "macOS13",
    compress: Callable[[Any], Any] = lambda model: model,
    shape: Any = None,
) -> Path:
    """shape: of the input, as coremltools' converter has it, where it is not fixed in its length."""
    system = getattr(ct.target, target)
    spec = mb.TensorSpec(shape=(1, 8, get_new_symbol() if shape else LENGTH))
    program = mb.program(input_specs=[spec], opset_version=system)(lambda x: build(x))
    options = {"compute_precision": getattr(ct.precision, precision), "minimum_deployment_target": system}
    path = folder / "model.mlpackage"
    with warnings.catch_warnings():
        # coremltools leaves temporary folders to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        if shape:
            options["inputs"] = [ct.TensorType(name="x", shape=shape)]
        model = ct.convert(program, convert_to="mlprogram", skip_model_load=True, **options)
        compress(model).save(str(path))
        del model, program
        gc.collect()
    return path
