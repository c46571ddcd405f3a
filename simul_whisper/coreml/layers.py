"""What Whisper's two programs are written with: layers of a model's tensors in MIL, and the model made of a program.

The layout is the Neural Engine's: activations (1, channels, 1, length), linear layers as 1x1 convolutions, and
attention one head at a time, after https://machinelearning.apple.com/research/neural-engine-transformers. Number
types are set here, so that no later pass has to cast and each weight is in memory once.
"""

import gc
import io
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.optimize import coreml as optimize
from numpy.typing import NDArray

from simul_whisper.coreml.conversion import Conversion, Precision
from simul_whisper.errors import ConfigError
from simul_whisper.progress import Progress, ProgressHandler, Stage
from simul_whisper.weights.model import Tensors

_EPSILON = 1e-5
# Batched over n and h: (n, c, h, w) and (n, w, h, u) give (n, c, h, u). The only product that MIL has in this layout.
_PRODUCT = "nchw,nwhu->nchu"
# int8: a scale for each output channel. int4: one for each 32 inputs of it; widths that are no multiple stay float16.
_LINEAR: dict[str, dict[str, Any]] = {
    "int8": {"dtype": "int8"},
    "int4": {"dtype": "int4", "granularity": "per_block", "block_size": 32},
}
# What coremltools' errors begin with when it cannot write its temporary files; they do not say why.
_WRITERS = ("[MIL FileWriter]", "filesystem error")


class Layers:
    """Layers by the name of their tensors. Variables are MIL's, of shape (1, channels, 1, length)."""

    def __init__(self, tensors: Tensors, precision: Precision) -> None:
        self._tensors = tensors
        self.dtype = np.dtype(precision)

    def conv(self, x: Any, name: str, scale: float = 1.0, **options: Any) -> Any:
        """A convolution along the length, or a linear layer as one of width 1; output times `scale`."""
        weight = self.constant(f"{name}.weight", scale)
        # (out, in) or (out, width, in) -> (out, in, 1, width)
        weight = weight[:, :, None, None] if weight.ndim == 2 else weight.transpose(0, 2, 1)[:, :, None, :]
        if f"{name}.bias" in self._tensors:
            options["bias"] = self.constant(f"{name}.bias", scale)
        return mb.conv(x=x, weight=weight, **options)

    def joining(self, x: Any, name: str, n_joined: int) -> Any:
        """A linear layer without bias of each `n_joined` positions as one: channels of the first, the second ..."""
        weight = self.constant(f"{name}.weight")
        # (out, n_joined * channels) -> (out, channels, 1, n_joined)
        weight = weight.reshape(len(weight), n_joined, -1).transpose(0, 2, 1)[:, :, None, :]
        return mb.conv(x=x, weight=weight, strides=[1, n_joined])

    def norm(self, x: Any, name: str) -> Any:
        """Layer norm over the channels."""
        gamma, beta = self.constant(f"{name}.weight"), self.constant(f"{name}.bias")
        return mb.layer_norm(x=x, axes=[1], gamma=gamma, beta=beta, epsilon=self.dtype.type(_EPSILON))

    def gelu(self, x: Any) -> Any:
        return mb.gelu(x=x, mode="EXACT")

    def constant(self, name: str, scale: float = 1.0) -> NDArray[Any]:
        """Return a tensor in the program's number type, times `scale`."""
        tensor = self._tensors[name]
        if scale != 1.0:
            tensor = tensor.astype(np.float32) * np.float32(scale)
        return tensor.astype(self.dtype, copy=False)


def product(left: Any, right: Any) -> Any:
    """Multiply (1, a, 1, b) by (1, b, 1, c); returns (1, a, 1, c)."""
    return mb.einsum(values=(left, right), equation=_PRODUCT)


def split(x: Any, n_head: int, axis: int) -> Any:
    """Return the channels of each head."""
    return mb.split(x=x, num_splits=n_head, axis=axis) if n_head > 1 else [x]


def converted(program: Any, conversion: Conversion, progress: ProgressHandler, **options: Any) -> Any:
    """Return a coremltools MLModel of a MIL program, which nothing has loaded or compiled.

    options: of `ct.convert`, such as the types of inputs and outputs.
    """
    with _quiet():
        model = ct.convert(
            program,
            convert_to="mlprogram",
            # The program has its final types; float32 here means that no pass casts it.
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target[conversion.target],
            skip_model_load=True,
            **options,
        )
    if conversion.quantize == "none":
        return model
    progress(Progress(Stage.CONVERTING, f"the weights to {conversion.quantize}"))
    # coremltools divides zeros by the scale of a block of zeros, zero, and takes them for zeros again.
    with _quiet(), np.errstate(invalid="ignore", over="ignore"):
        quantized = _quantized(model, conversion)
    discard(model)
    return quantized


def joined(models: Mapping[str, Path], default: str, package: Path) -> Any:
    """Write packages of one function each as one of many, which share their weights; returns its MLModel."""
    # Programs written before are cycles of references, and hold weights until they are collected.
    gc.collect()
    functions = ct.utils.MultiFunctionDescriptor()
    for name, path in models.items():
        functions.add_function(str(path), "main", name)
    functions.default_function_name = default
    with _quiet():
        ct.utils.save_multifunction(functions, str(package))
        return ct.models.MLModel(str(package), skip_model_load=True)


def discard(model: Any) -> None:
    """Remove the model's temporary files, which coremltools keeps until the process ends."""
    shutil.rmtree(model.package_path, ignore_errors=True)


def _quantized(model: Any, conversion: Conversion) -> Any:
    """Return the model with the weights of its convolutions quantised, all else as it was."""
    if conversion.quantize in _LINEAR:
        linear = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", **_LINEAR[conversion.quantize])
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(op_type_configs={"conv": linear}))
    palette = optimize.OpPalettizerConfig(mode="kmeans", nbits=int(conversion.quantize.removeprefix("palette")))
    return optimize.palettize_weights(model, optimize.OptimizationConfig(op_type_configs={"conv": palette}))


@contextmanager
def _quiet() -> Iterator[None]:
    """Swallow the bars that coremltools draws on stderr, and its warning of folders that it left to be collected.

    Raises ConfigError where it cannot write.
    """
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
        try:
            yield
        except RuntimeError as error:
            if not any(writer in str(error) for writer in _WRITERS):
                raise
            raise ConfigError(
                f"{tempfile.gettempdir()}: coremltools cannot write its files there; make room, or set TMPDIR to "
                "another folder"
            ) from error
