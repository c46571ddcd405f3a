"""Measure which heads of a Voxtral model tell where it reads, and write them beside the weights.

    python -m scripts.calibrate_voxtral DIRECTORY en=TALK.wav en=OTHER.wav de=REDE.wav

Some recordings of a few sentences each will do, in the languages that are to be heard. The model reads the first 30 s
of each, three times for each second, without a transcript: minutes on a GPU.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from simul_whisper import SimulWhisperError
from simul_whisper.voxtral.calibration import Recording, calibrate
from simul_whisper.voxtral.checkpoint import open_voxtral
from simul_whisper.voxtral.encoder import MlxVoxtralEncoder
from simul_whisper.voxtral.heads import Measured, write_heads
from simul_whisper.voxtral.language import MlxLanguage
from simul_whisper.voxtral.tekken import TekkenTokenizer
from simul_whisper.voxtral.tokenizer import VoxtralTokenizer
from streaming.audio.files import read_audio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="of the model")
    parser.add_argument("recordings", nargs="+", type=_named, metavar="LANGUAGE=FILE", help="what to read")
    given = parser.parse_args()
    try:
        measured = _measured(given.directory, given.recordings)
    except SimulWhisperError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    heads = ", ".join(f"{layer}.{head}" for layer, head in measured.heads)
    print(f"layer.head {heads}: right about {measured.right:.1%} of tokens in {measured.audio_s:g} s of audio")
    print(
        f"by the policy, {measured.told_early:.1%} of what is read is told early, {measured.agreement:.1%} of it right"
    )
    if measured.is_believed:
        print(f"written to {write_heads(given.directory, measured)}")
    else:
        print("not believed: words will be committed when two passes agree")


def _named(written: str) -> tuple[str, str]:
    language, _, file = written.partition("=")
    if not file:
        raise argparse.ArgumentTypeError(f"got {written!r}, expected LANGUAGE=FILE, such as en=talk.wav")
    return language, file


def _measured(directory: Path, named: Sequence[tuple[str, str]]) -> Measured:
    weights = open_voxtral(directory.name, directory)
    tokenizer = VoxtralTokenizer(TekkenTokenizer(weights.tokenizer_file, weights.dims.n_vocab))
    recordings = [Recording(read_audio(file), language) for language, file in named]
    return calibrate(MlxLanguage(weights), MlxVoxtralEncoder(weights), tokenizer, recordings)


if __name__ == "__main__":
    main()
