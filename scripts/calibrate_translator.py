"""Measure which heads of a translator tell where it reads, and write it down beside the model, as alignment.json.

    python -m scripts.calibrate_translator DIRECTORY TEXT --from en --to es

TEXT has some dozens of sentences of the source language, one a line. Every sentence is translated once for each of its
words and each layer, twice: minutes.
"""

import argparse
from pathlib import Path

from simul_whisper.translators.alignment import write_alignment
from simul_whisper.translators.calibration import calibrate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="of the translator")
    parser.add_argument("text", type=Path, help="sentences of the source language")
    parser.add_argument("--from", dest="source", required=True, metavar="LANGUAGE", help="Whisper's code")
    parser.add_argument("--to", dest="target", required=True, metavar="LANGUAGE", help="Whisper's code")
    given = parser.parse_args()
    lines = given.text.read_text("utf-8").splitlines()
    sentences = [[f" {word}" for word in line.split()] for line in lines if line.strip()]
    measured = calibrate(given.directory, given.directory.name, sentences, given.source, given.target)
    for each in measured:
        which = "first head" if each.heads == 1 else f"mean of {each.heads} heads"
        print(f"layer {each.layer}, {which}: {each.told_early:.1%} told early, {each.agreement:.1%} of it right")
    best = measured[0]
    write_alignment(given.directory, best)
    print("written down" if best.is_believed else "none is believed: words will be told when two translations agree")


if __name__ == "__main__":
    main()
