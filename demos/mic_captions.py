"""Captions of the microphone: a capture, a worker and its handle, and what is printed.

python demos/mic_captions.py [DEVICE]
"""

import sys

from simul_whisper import AlignAttConfig, load_model
from streaming.audio.capture import Capture, Heard
from streaming.audio.microphone import Microphone
from streaming.events import SpeechEnded, Words
from streaming.sessions.handle import SessionHandle
from streaming.sessions.worker import Worker


def listen(capture: Capture, handle: SessionHandle) -> None:
    """Print words as they are committed, for ever."""
    while not handle.is_over:
        for heard in capture.read(timeout_s=0.1):
            if isinstance(heard, Heard):
                handle.submit(heard.samples, drop_oldest=True)
            else:
                print(f"\n[{heard}]")
        for event in handle.events():
            if isinstance(event, Words):
                print(event.text, end="", flush=True)
            elif isinstance(event, SpeechEnded):
                print()


def main() -> None:
    config = AlignAttConfig(model_name="base")
    worker = Worker(lambda: load_model(config), config)
    worker.start()
    worker.wait_ready(timeout_s=600)
    capture = Capture(Microphone(sys.argv[1] if len(sys.argv) > 1 else None))
    try:
        listen(capture, worker.open())
    except KeyboardInterrupt:
        print()
    finally:
        capture.end()
        worker.stop()


if __name__ == "__main__":
    main()
