"""What can be chosen about a Core ML package. Knows nothing of coremltools."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from simul_whisper.errors import ConfigError

Precision = Literal["float16", "float32"]
Quantization = Literal["none", "int8", "palette6", "palette4"]
Target = Literal["macOS13", "macOS14", "macOS15"]
Attention = Literal["split", "fused"]


@dataclass(frozen=True)
class Conversion:
    """How to convert. Raises ConfigError when a value is unknown or two of them do not go together."""

    precision: Precision = field(
        default="float16",
        metadata={"help": "number type of weights and arithmetic; the Neural Engine has float16 only"},
    )
    quantize: Quantization = field(
        default="none", metadata={"help": "keep weights as 8-bit numbers, or as 6- or 4-bit indices into palettes"}
    )
    target: Target = field(default="macOS13", metadata={"help": "the oldest system that runs the package"})
    attention: Attention = field(
        default="split", metadata={"help": "head by head, or as the one operator that macOS15 has for it"}
    )
    fixed_length: bool = field(
        default=False, metadata={"help": "take windows of 30 s only, not the shorter ones as well"}
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value, choices = getattr(self, each.name), choices_of(each.type)
            if value not in choices:
                raise ConfigError(f"{each.name}: got {value!r}, expected one of {', '.join(map(str, choices))}")
        if self.attention == "fused" and self.target != "macOS15":
            raise ConfigError(f"attention = fused needs target = macOS15, got {self.target}")
        if self.quantize != "none" and self.precision != "float16":
            raise ConfigError(f"quantize = {self.quantize} needs precision = float16, got {self.precision}")


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """Return the values that a field of Conversion may have."""
    return get_args(annotation) or (False, True)
