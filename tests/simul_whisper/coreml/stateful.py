"""A package of two functions with states, built by hand; tests that import this are skipped without coremltools."""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("coremltools", exc_type=ImportError)
from coremltools.converters.mil.mil import types

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.layers import converted
from simul_whisper.progress import silent
from tests.simul_whisper.coreml.programs import ct, mb

Body = Callable[[Any, Any, Any, int], Any]
N_LAYERS, N_PLACES, WIDTH = 2, 32, 64
CACHE = (N_LAYERS, N_PLACES, 1, WIDTH)
TABLE = np.random.default_rng(1).standard_normal((10, WIDTH)).astype(np.float16)
"""Embeddings of ten tokens."""
TARGET = ct.target.macOS15


def program(body: Body, n: int) -> Any:
    """Return a program whose arguments are n tokens (1, n), a position (1,) and the state `cache`."""
    specs = [
        mb.TensorSpec((1, n), dtype=types.int32),
        mb.TensorSpec((1,), dtype=types.int32),
        mb.StateTensorSpec(CACHE, dtype=types.fp16),
    ]

    @mb.program(input_specs=specs, opset_version=TARGET)  # type: ignore[untyped-decorator]
    def both(tokens: Any, position: Any, cache: Any) -> Any:
        return body(tokens, position, cache, n)

    return both


def remembering(tokens: Any, position: Any, cache: Any, n: int) -> Any:
    """Write the embeddings, times 1 and times 2, at the position of layers 0 and 1; return the sum of each layer."""
    kept = mb.read_state(input=cache)
    x = mb.expand_dims(x=mb.gather(x=mb.const(val=TABLE), indices=tokens, axis=0), axes=[2])
    end, sums = mb.add(x=position, y=np.array([n], np.int32)), []
    for layer in range(N_LAYERS):
        kept = updated(cache, kept, mb.mul(x=x, y=np.float16(layer + 1)), layer, (position, end))
        part = mb.slice_by_index(x=kept, begin=[layer, 0, 0, 0], end=[layer + 1, *CACHE[1:]])
        sums.append(mb.reduce_sum(x=part, axes=[1], keep_dims=False))
    return mb.concat(values=sums, axis=0, name="sums")


def updated(cache: Any, kept: Any, x: Any, layer: int, bounds: tuple[Any, Any]) -> Any:
    """Return the new value of the state; kept: the value that it has."""
    begin, end = bounds
    begin = mb.concat(values=[np.array([layer], np.int32), begin, np.array([0, 0], np.int32)], axis=0)
    end = mb.concat(values=[np.array([layer + 1], np.int32), end, np.array([1, WIDTH], np.int32)], axis=0)
    return mb.coreml_update_state(state=cache, value=mb.slice_update(x=kept, update=x, begin=begin, end=end))


def forgetting(tokens: Any, position: Any, cache: Any, n: int) -> Any:
    """The same, but each layer reads the state again, of which coremltools makes one reading before all writes."""
    x = mb.expand_dims(x=mb.gather(x=mb.const(val=TABLE), indices=tokens, axis=0), axes=[2])
    end = mb.add(x=position, y=np.array([n], np.int32))
    for layer in range(N_LAYERS):
        kept = updated(cache, mb.read_state(input=cache), x, layer, (position, end))
    return mb.reduce_sum(x=kept, axes=[1], keep_dims=False, name="sums")


def saved_function(folder: Path, body: Body = remembering, n: int = 1) -> Path:
    """Save a package of one function, with a state."""
    path = folder / f"{body.__name__}{n}.mlpackage"
    with unnoticed():
        converted(program(body, n), Conversion(target="macOS15"), silent).save(str(path))
    return path


@contextmanager
def unnoticed() -> Iterator[None]:
    """Swallow the warnings of the temporary folders that coremltools leaves to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def saved_functions(folder: Path) -> Path:
    """Save a package with the functions `many`, of four tokens, and `one`, the default."""
    described = ct.utils.MultiFunctionDescriptor()
    for n, name in ((4, "many"), (1, "one")):
        described.add_function(str(saved_function(folder, n=n)), "main", name)
    described.default_function_name = "one"
    path = folder / "functions.mlpackage"
    with unnoticed():
        ct.utils.save_multifunction(described, str(path))
    return path


def expected(written: dict[int, list[int]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the sums of a cache in which tokens were written from those positions on, in this order."""
    cache = np.zeros(CACHE, np.float32)
    for position, tokens in written.items():
        for layer in range(N_LAYERS):
            cache[layer, position : position + len(tokens), 0] = TABLE[tokens].astype(np.float32) * (layer + 1)
    sums: np.ndarray[Any, np.dtype[np.float32]] = cache.sum(axis=1)
    return sums
