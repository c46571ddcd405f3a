"""Every driver there is."""

import importlib
import inspect
from pathlib import Path

from tests.dialects import Speaker


def _found() -> list[Speaker]:
    modules = [
        importlib.import_module(f"tests.dialects.{path.stem}") for path in Path(__file__).parent.glob("[a-z]*.py")
    ]
    kinds = [each for module in modules for each in vars(module).values() if inspect.isclass(each)]
    own = {kind for kind in kinds if issubclass(kind, Speaker) and not inspect.isabstract(kind)}
    return [kind() for kind in sorted(own, key=lambda kind: kind.__name__)]


SPEAKERS = _found()
