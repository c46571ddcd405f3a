"""Read the tensors of a PyTorch checkpoint without PyTorch and without unpickling, so that no object can be made.

Of pickle's operations only those that `torch.save` writes for a dict of tensors are known, and they put together texts,
numbers, tuples, dicts and two records of our own. Any other operation, and any other name than the four below, is
refused.
"""

import math
import pickletools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.foreign_files import one_line, shown
from simul_whisper.weights.archive import Archive
from simul_whisper.weights.safetensors import checked_shape

_MOST_PICKLE_BYTES = 1 << 20
_DTYPES = {"torch FloatStorage": "<f4", "torch HalfStorage": "<f2"}
_REBUILD, _DICT = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_NAMES = frozenset([*_DTYPES, _REBUILD, _DICT])
_LENGTHS = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None}


@dataclass(frozen=True)
class _Name:
    """A class or function, which is never looked up."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """The numbers of a tensor: their type, and the name of the member that holds them."""

    dtype: str
    key: str


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]


def read_torch_checkpoint(file: Path, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the tensors of a checkpoint, float32 or float16, by name. Raises OSError or ValueError."""
    with Archive(file, most_bytes) as archive:
        pickled = next((name for name in archive.names if name.endswith("/data.pkl")), "data.pkl")
        folder = pickled.removesuffix("data.pkl")
        content = archive.read(pickled)
        if len(content) > _MOST_PICKLE_BYTES:
            raise ValueError(f"{pickled} has {len(content)} bytes, expected at most {_MOST_PICKLE_BYTES}")
        tensors = _Machine().run(bytes(content))
        return {name: _array(archive, folder, name, tensor) for name, tensor in tensors.items()}


def _array(archive: Archive, folder: str, name: str, tensor: _Tensor) -> NDArray[Any]:
    numbers = np.frombuffer(archive.read(f"{folder}data/{tensor.storage.key}"), tensor.storage.dtype)
    shape = checked_shape(name, tensor.shape)
    end = tensor.offset + math.prod(shape)
    if not 0 <= tensor.offset <= end <= len(numbers):
        raise ValueError(f"{shown(name)} is not within its storage of {len(numbers)} numbers")
    return numbers[tensor.offset : end].reshape(shape)


class _Machine:
    """Pickle's stack and memo, with the operations that a dict of tensors takes."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._below_mark: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, pickled: bytes) -> dict[str, _Tensor]:
        """Return the dict of tensors. Raises ValueError for all else."""
        try:
            with warnings.catch_warnings():
                # Python warns of unknown escapes in names.
                warnings.simplefilter("ignore", DeprecationWarning)
                for operation, argument, _ in pickletools.genops(pickled):
                    self._do(operation.name, argument)
            found = self._stack.pop()
        except (IndexError, KeyError) as error:
            raise ValueError("its pickle is damaged") from error
        if not isinstance(found, dict) or not all(isinstance(each, _Tensor) for each in found.values()):
            raise ValueError("it is no dict of tensors")
        return found

    def _do(self, operation: str, argument: Any) -> None:
        match operation:
            case "PROTO" | "STOP":
                pass
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                self._stack.append(argument)
            case "NEWTRUE" | "NEWFALSE" | "NONE":
                self._stack.append(_CONSTANTS[operation])
            case "GLOBAL":
                self._stack.append(_known(argument))
            case "MARK":
                self._below_mark.append(self._stack)
                self._stack = []
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._stack.append(tuple(self._popped(_LENGTHS[operation])))
            case "TUPLE":
                items = self._to_mark()
                self._stack.append(tuple(items))
            case "EMPTY_DICT":
                self._stack.append({})
            case "SETITEM":
                self._put(self._popped(2))
            case "SETITEMS":
                self._put(self._to_mark())
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case "BINPERSID":
                self._stack.append(_storage(self._stack.pop()))
            case "REDUCE":
                self._stack.append(_made(*self._popped(2)))
            case "BUILD":  # what PyTorch notes about a dict, which is not needed
                self._stack.pop()
            case _:
                raise ValueError(f"it pickles {operation}, which is not allowed in a CIF checkpoint")

    def _popped(self, n: int) -> list[Any]:
        start = len(self._stack) - n
        if start < 0:
            raise IndexError(n)
        popped = self._stack[start:]
        del self._stack[start:]
        return popped

    def _to_mark(self) -> list[Any]:
        above, self._stack = self._stack, self._below_mark.pop()
        return above

    def _put(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dict below them."""
        target, names = self._stack[-1], items[::2]
        if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(name, str) for name in names):
            raise ValueError("it is no dict of tensors")
        target.update(zip(names, items[1::2], strict=True))


def _known(name: str) -> _Name:
    if name not in _NAMES:
        raise ValueError(f"{one_line(name)} is not allowed in a CIF checkpoint")
    return _Name(name)


def _storage(described: Any) -> _Storage:
    match described:
        case ("storage", _Name(name), str(key), *_) if name in _DTYPES:
            return _Storage(_DTYPES[name], key)
    raise ValueError("its numbers are not float32 or float16")


def _made(maker: Any, arguments: Any) -> dict[str, Any] | _Tensor:
    match maker, arguments:
        case _Name(name), () if name == _DICT:
            return {}
        case _Name(name), (_Storage() as storage, int(offset), tuple(shape), *_) if name == _REBUILD:
            return _Tensor(storage, offset, shape)
    raise ValueError("it makes something that is no tensor")
