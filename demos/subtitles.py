"""A recording to subtitles: an .srt file beside it, from a session that leaves out silence and keeps the context.

python demos/subtitles.py talk.mp4 [--translate]
"""

import sys
from pathlib import Path

from simul_whisper import SAMPLE_RATE, AlignAttConfig, load_model
from streaming.audio.files import audio_blocks, chunked
from streaming.output.durable import DurableText
from streaming.output.formats import open_format
from streaming.sessions.session import Session


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "demos/recordings/captions.flac")
    task = "translate" if "--translate" in sys.argv else "transcribe"
    config = AlignAttConfig(model_name="base", task=task)
    session = Session(config, load_model(config), drafts=False)
    file = DurableText(path.with_suffix(".srt"))
    subtitles = open_format("srt")
    for chunk in chunked(audio_blocks(path), SAMPLE_RATE):
        for event in session.feed(chunk):
            file.write(subtitles.feed(event))
        file.flush()
    for event in session.end():
        file.write(subtitles.feed(event))
    file.flush()
    file.close()
    print(path.with_suffix(".srt"))


if __name__ == "__main__":
    main()
