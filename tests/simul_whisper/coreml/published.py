"""Packages as they are published: compiled, as far as that is possible without Apple's compiler."""

import json
import shutil
from pathlib import Path

from simul_whisper.coreml.description import Feature, describe

SOURCE = "source.mlpackage"
"""What was compiled, kept inside, so that a device without Core ML can run it."""


def compiled(package: Path, target: Path) -> Path:
    """Write the `.mlmodelc` that Apple's compiler would make of a package: its weights, and what it says of itself."""
    found = describe(package)
    target.mkdir(parents=True)
    content = {"inputSchema": list(map(_schema, found.inputs)), "outputSchema": list(map(_schema, found.outputs))}
    (target / "metadata.json").write_text(json.dumps([content]))
    shutil.copytree(next(package.rglob("weights")), target / "weights")
    shutil.copytree(package, target / SOURCE)
    return target


def _schema(feature: Feature) -> dict[str, str]:
    default, *_ = shapes = [json.dumps(list(shape)) for shape in feature.shapes] or ["[]"]
    listed = {"enumeratedShapes": f"[{', '.join(shapes)}]"} if len(shapes) > 1 else {}
    return {"name": feature.name, "shape": default, "dataType": feature.dtype.capitalize(), **listed}
