"""How ONNX Runtime runs a graph here: on the CPU, beside other work, and with memory that is given back."""

from typing import Any

import onnxruntime

from simul_whisper.machine import n_threads

# At most this many threads share a graph, whose parts are short.
_MOST_THREADS = 4
# Below what it writes itself of a graph that it does not take, for that is ours to tell.
_SILENT = 4


def session_options() -> Any:
    """Return options of a session, to which others may be added."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(n_threads(), _MOST_THREADS)
    # Threads that wait spinning would take the cores from the rest of the work, and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Either would keep memory for each length of window, text and sound.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = _SILENT
    return options


def open_session(model: bytes, options: Any = None) -> Any:
    """Return a session on the CPU. Raises what ONNX Runtime does, which has a type for each status, below Exception."""
    return onnxruntime.InferenceSession(model, options or session_options(), providers=["CPUExecutionProvider"])
