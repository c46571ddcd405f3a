"""What Core ML does on this Mac: loading, encoding and agreement for each choice of compute units, as a Markdown table.

simul-whisper coreml convert base && python demos/coreml_report.py base models/ggml-base-encoder.mlpackage
"""

import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from simul_whisper import SAMPLE_RATE, AlignAttConfig, PaddedAlignAttWhisper, load_model
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.coreml.verify import verify
from streaming.audio.files import read_audio

SPEECH = Path(__file__).parent / "recordings" / "captions.flac"
UNITS = ("CPU_AND_NE", "ALL", "CPU_AND_GPU", "CPU_ONLY")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    if platform.system() != "Darwin":
        sys.exit("this measures Core ML, which needs a Mac; simul-whisper coreml verify works anywhere")
    print(f"{platform.platform()}, {platform.machine()}, model {sys.argv[1]}\n")
    for line in table(sys.argv[1], sys.argv[2]):
        print(line, flush=True)


def table(model: str, package: str, speech: Path = SPEECH, runtime: CoreMLRuntime | None = None) -> Iterator[str]:
    """Yield the lines of the table, MLX first; runtime: what runs Core ML, None for the system's own."""
    yield "| compute units | first load s | load s | encoding ms, median | PSNR dB | words equal |"
    yield "| --- | --- | --- | --- | --- | --- |"
    mlx = AlignAttConfig(model_name=model, language="en", backend="mlx")
    yield f"| MLX | {' | '.join(measured(mlx, speech, runtime))} |"
    for units in UNITS:
        config = AlignAttConfig(model_name=model, language="en", backend="coreml")
        config.coreml_encoder_path, config.coreml_compute_units = package, units
        yield f"| {units} | {' | '.join(measured(config, speech, runtime))} |"


def measured(config: AlignAttConfig, speech: Path, runtime: CoreMLRuntime | None) -> list[str]:
    """Return the cells of one row. The system keeps what it compiled: only the very first load takes as long."""
    samples = read_audio(speech)
    loads_s = []
    for _ in range(2):
        started = time.perf_counter()
        model = load_model(config, coreml_runtime=runtime)
        loads_s.append(time.perf_counter() - started)
    whisper, encoding_ms = PaddedAlignAttWhisper(config, model), []
    for start in range(0, len(samples), SAMPLE_RATE):
        whisper.insert_audio(samples[start : start + SAMPLE_RATE])
        encoding_ms.append(1000 * whisper.infer().timing.encode_s)
    cells = [f"{each:.1f}" for each in (*loads_s, statistics.median(encoding_ms))]
    if config.backend == "mlx":
        return [*cells, "", ""]
    if model.info.did_fallback:
        return [model.info.fallback_reason, "", "", "", ""]
    found = verify(Path(config.coreml_encoder_path), samples, config, runtime)
    return [*cells, f"{found.measured[0].parity.psnr_db:.1f}", f"{100 * found.equal_words:.0f} %"]


if __name__ == "__main__":
    main()
