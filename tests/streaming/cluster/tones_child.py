"""A child process that is a replica, over a model that never mishears."""

from simul_whisper import AlignAttConfig
from streaming.cluster.child import run_child
from streaming.sessions.worker import Worker
from streaming.settings import WorkerConfig
from tests.tones import tone_model

CONFIG = AlignAttConfig(language="en", padding_len=1.0)

if __name__ == "__main__":
    run_child(lambda buffer_s: Worker(tone_model, CONFIG, WorkerConfig(buffer_s=buffer_s)))
