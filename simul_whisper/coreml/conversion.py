"""What can be chosen about a Core ML package. Knows nothing of coremltools."""

from dataclasses import dataclass
from typing import Literal, get_args

from simul_whisper.errors import ConfigError
from simul_whisper.options import check_options, option

Precision = Literal["float16", "float32"]
Quantization = Literal["none", "int8", "int4", "palette6", "palette4"]
Target = Literal["macOS13", "macOS14", "macOS15"]
Attention = Literal["split", "fused"]
Shapes = Literal["enumerated", "range", "fixed"]


@dataclass(frozen=True)
class Conversion:
    """How to convert. Raises ConfigError when a value is unknown or two of them do not go together."""

    precision: Precision = option(
        "float16", "number type of weights and arithmetic; the Neural Engine has float16 only", get_args(Precision)
    )
    quantize: Quantization = option(
        "none", "keep weights as 8- or 4-bit numbers, or as 6- or 4-bit indices into palettes", get_args(Quantization)
    )
    target: Target = option("macOS13", "the oldest system that runs the package", get_args(Target))
    attention: Attention = option(
        "split", "head by head, or as the one operator that macOS15 has for it", get_args(Attention)
    )
    shapes: Shapes = option(
        "enumerated", "take windows of 5, 10, 15, 20 and 30 s, of any length, or of 30 s only", get_args(Shapes)
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.attention == "fused" and self.target != "macOS15":
            raise ConfigError(f"attention = fused needs target = macOS15, got {self.target}")
        if self.quantize == "int4" and self.target != "macOS15":
            raise ConfigError(f"quantize = int4 needs target = macOS15, got {self.target}")
        if self.quantize != "none" and self.precision != "float16":
            raise ConfigError(f"quantize = {self.quantize} needs precision = float16, got {self.precision}")

    @property
    def has_states(self) -> bool:
        """Whether a decoder keeps its caches as states; before macOS 15 there are none."""
        return self.target == "macOS15"
