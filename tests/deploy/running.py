"""An image that runs, as `docker run --read-only` would have it: alone, the first of its processes, not root."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.building import Image

# Its own files, of which it may write only to /tmp and to the volume.
_MOUNTS = """
mount --bind "$ROOT" "$ROOT"
mount --options remount,bind,ro "$ROOT"
mount --bind "$MODELS" "$ROOT/models"
mount --types tmpfs tmpfs "$ROOT/tmp"
mount --types proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
exec chroot --userspec="$USER_AND_GROUP" "$ROOT" "$@"
"""


class Running:
    def __init__(self, process: "subprocess.Popen[str]", image: Image, environment: Mapping[str, str]) -> None:
        self._process, self._image, self._environment = process, image, environment

    @property
    def pid(self) -> int:
        """Of the server, as this machine counts; it itself counts from 1."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return int(children.split()[0])

    @property
    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def is_healthy(self) -> bool:
        """Ask as a container engine would."""
        assert self._process.poll() is None, self.stop()
        asked = ["chroot", str(self._image.root), *self._image.container.health]
        return subprocess.run(asked, env=dict(self._environment), capture_output=True, check=False).returncode == 0

    def stop(self) -> tuple[int, str]:
        """Send what `docker stop` sends. Return the exit status, and what it has said."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        said, _ = self._process.communicate()
        return self._process.returncode, said


@contextmanager
def running(image: Image, models: Path, settings: Mapping[str, str], command: Sequence[str] = ()) -> Iterator[Running]:
    """Run the image's own command, or another one, with these variables."""
    user, _, group = image.container.user.partition(":")
    os.chown(models, int(user), int(group))
    environment = {**image.container.environment, **settings}
    told = {"ROOT": f"{image.root}", "MODELS": f"{models}", "USER_AND_GROUP": image.container.user}
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", _MOUNTS, "sh"]
    inside = ["env", "--chdir=/models", *(command or image.container.command)]
    with subprocess.Popen(
        [*apart, *inside], env={**environment, **told}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Running(process, image, environment)
        finally:
            process.kill()
