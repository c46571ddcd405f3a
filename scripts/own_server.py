"""`simul-whisper serve` in a process of its own, for scripts that do it harm: it may die, and be started again."""

import re
import subprocess
import sys
import threading
from pathlib import Path

COMMAND = [sys.executable, "-m", "streaming.cli"]
_ROOT = Path(__file__).parents[1]


class OwnServer:
    """It keeps its port when it is started again. log: what all of its processes have said, in bytes."""

    def __init__(self, flags: list[str]) -> None:
        self._flags, self.port, self.log = flags, 0, bytearray()
        self._reading: threading.Thread | None = None
        self.start()

    def start(self) -> None:
        """Return when it is ready; else none is left. Raises RuntimeError."""
        command = [*COMMAND, "serve", "--port", str(self.port), *self._flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=_ROOT)
        try:
            self._wait_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _wait_ready(self) -> None:
        assert self.process.stderr
        line = b""
        for line in self.process.stderr:
            self.log += line
            if found := re.search(rb"listening on \S+:(\d+);", line):
                self.port = int(found[1])
            elif line.endswith(b": ready\n"):
                return
        raise RuntimeError(f"the server has ended: {line.decode(errors='replace')}")

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr as said:
            for line in said:
                self.log += line

    def kill(self) -> None:
        """End it at once, and read what it has said."""
        self.process.kill()
        self.process.wait()
        if self._reading:
            self._reading.join()

    def start_again(self) -> None:
        self.kill()
        self.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"
