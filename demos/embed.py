"""The engine inside an app: insert audio as it comes, print what may be committed.

python demos/embed.py demos/recordings/captions.flac
"""

import sys

from simul_whisper import SAMPLE_RATE, AlignAttConfig, PaddedAlignAttWhisper
from streaming.audio.files import audio_blocks, chunked


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "demos/recordings/captions.flac"
    whisper = PaddedAlignAttWhisper(AlignAttConfig(model_name="base", language="en"))
    for chunk in chunked(audio_blocks(path), SAMPLE_RATE):
        whisper.insert_audio(chunk)
        print(whisper.infer().text, end="", flush=True)
    print(whisper.infer(is_last=True).text)


if __name__ == "__main__":
    main()
