"""What Core ML does on this Mac, as a Markdown table: loading, the encoder, the decoder's prefill and steps, agreement.

simul-whisper coreml convert base --part all --target macOS15
python demos/coreml_report.py base models/ggml-base-encoder.mlpackage models/ggml-base-decoder.mlpackage

Without a decoder's package, the encoder is measured alone.
"""

import platform
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from simul_whisper import SAMPLE_RATE, AlignAttConfig, PaddedAlignAttWhisper, load_model
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.coreml.verify import verify
from streaming.audio.files import read_audio

SPEECH = Path(__file__).parent / "recordings" / "captions.flac"
UNITS = ("CPU_AND_NE", "ALL", "CPU_AND_GPU", "CPU_ONLY")
COLUMNS = "first load s|load s|encoding ms|prefill ms|step ms|PSNR dB|words equal".split("|")


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    if platform.system() != "Darwin":
        sys.exit("this measures Core ML, which needs a Mac; simul-whisper coreml verify works anywhere")
    print(f"{platform.platform()}, {platform.machine()}, model {sys.argv[1]}; medians of a pass a second\n")
    for line in table(*sys.argv[1:]):
        print(line, flush=True)


def table(
    model: str, encoder: str, decoder: str = "", speech: Path = SPEECH, runtime: CoreMLRuntime | None = None
) -> Iterator[str]:
    """Yield the lines of the table, MLX first; runtime: what runs Core ML, None for the system's own."""
    heads = ["pipeline", "compute units", *COLUMNS]
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    preset = partial(AlignAttConfig.preset, model_name=model, language="en")
    yield f"| MLX | | {' | '.join(measured(preset('mlx_only'), '', speech, runtime))} |"
    for units in UNITS:
        chosen = {"coreml_encoder_path": encoder, "coreml_compute_units": units}
        hybrid = measured(preset("hybrid", **chosen), encoder, speech, runtime)
        yield f"| hybrid | {units} | {' | '.join(hybrid)} |"
        if decoder:
            full = measured(preset("full_coreml", **chosen, coreml_decoder_path=decoder), decoder, speech, runtime)
            yield f"| Core ML | {units} | {' | '.join(full)} |"


def measured(config: AlignAttConfig, package: str, speech: Path, runtime: CoreMLRuntime | None) -> list[str]:
    """Return the cells of one row. package: what agreement is measured of, if anything.

    The system keeps what it compiled: only the very first load takes as long.
    """
    samples, loads_s = read_audio(speech), []
    for _ in range(2):
        started = time.perf_counter()
        model = load_model(config, coreml_runtime=runtime)
        loads_s.append(time.perf_counter() - started)
    info = model.info
    if info.did_fallback or info.decoder_did_fallback:
        return [info.fallback_reason or info.decoder_fallback_reason, *[""] * (len(COLUMNS) - 1)]
    whisper, timings = PaddedAlignAttWhisper(config, model), []
    for start in range(0, len(samples), SAMPLE_RATE):
        whisper.insert_audio(samples[start : start + SAMPLE_RATE])
        timings.append(whisper.infer().timing)
    steps_s = [step_s for each in timings for step_s in each.step_s]
    medians_s = [
        statistics.median(each)
        for each in ([each.encode_s for each in timings], [each.prefill_s for each in timings], steps_s)
    ]
    cells = [f"{each:.1f}" for each in (*loads_s, *(1000 * each for each in medians_s))]
    if not package:
        return [*cells, "", ""]
    found = verify(Path(package), samples, config, runtime)
    worst_db = min(each.parity.psnr_db for each in found.measured)
    return [*cells, f"{worst_db:.1f}", f"{100 * found.equal_words:.0f} %"]


if __name__ == "__main__":
    main()
