"""Images of deploy/Dockerfile: built by Buildah, or where there is none, by running its steps in a fresh root.

The base is a Debian of our own, for which no registry of images is needed: made by debootstrap once, and kept among the
caches. What this machine tells pip, such as where packages are, is lent to the build and stays out of the image.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from simul_whisper.weights.cache import cache_home
from tests.deploy.dockerfile import (
    DEPLOY,
    DOCKERFILE,
    PATH,
    Container,
    Instruction,
    Stage,
    assignments,
    container_of,
    expanded,
    read_dockerfile,
)

CLONE = DEPLOY.parent
_BASE = "localhost/debian-with-python"
_CERTIFICATES = Path("/etc/ssl/certs")


@dataclass(frozen=True)
class Image:
    """root: its files. container: how it is run. by: what has built it."""

    root: Path
    container: Container
    by: str


@contextmanager
def image(folder: Path, arguments: Mapping[str, str]) -> Iterator[Image]:
    """Build it with these arguments. Skips the test where neither way is possible."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs Linux and root, to build an image without Docker")
    base = _debian(folder)
    if shutil.which("buildah"):
        with _by_buildah(base, folder, arguments) as built:
            yield built
    else:
        with _by_steps(base, folder, arguments) as built:
            yield built


def _debian(folder: Path) -> Path:
    """Return an archive of Debian with Python, which is made when it is first needed."""
    archive = cache_home() / "tests" / "debian-with-python.tar"
    if archive.exists():
        return archive
    if not shutil.which("debootstrap"):
        pytest.skip("needs debootstrap: apt-get install debootstrap")
    root = folder / "debian"
    said_by(["debootstrap", "--variant=minbase", "--include=ca-certificates,python3,python3-venv", "bookworm", root])
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_suffix(f".{os.getpid()}")
    said_by(["tar", "--directory", root, "--exclude=./dev/*", "--create", "--file", part, "."])
    part.replace(archive)
    shutil.rmtree(root)
    return archive


@contextmanager
def _by_buildah(base: Path, folder: Path, arguments: Mapping[str, str]) -> Iterator[Image]:
    buildah = ["buildah", "--root", folder / "storage", "--runroot", folder / "run"]
    try:
        (begun,) = said_by([*buildah, "from", "scratch"]).split()
        said_by([*buildah, "add", "--quiet", begun, base, "/"])
        said_by([*buildah, "commit", "--quiet", "--rm", begun, _BASE])
        asked = [f"--build-arg={name}={value}" for name, value in {"BASE": _BASE, **arguments}.items()]
        lent = [f"--volume={ours}:{its}:ro" for ours, its in _lent(folder).items()]
        options = ["--isolation=chroot", "--format=docker", "--tag=built", f"--file={DOCKERFILE}"]
        said_by([*buildah, "build", *options, *asked, *lent, CLONE])
        (run,) = said_by([*buildah, "from", "localhost/built"]).split()
        yield Image(Path(said_by([*buildah, "mount", run]).strip()), _container(buildah), "Buildah")
    finally:
        said_by([*buildah, "rm", "--all"])
        said_by([*buildah, "rmi", "--all", "--force"])


def _container(buildah: Sequence[object]) -> Container:
    told = json.loads(said_by([*buildah, "inspect", "--type=image", "localhost/built"]))["Docker"]["config"]
    assert told["StopSignal"] == "SIGTERM"
    environment = dict(each.split("=", 1) for each in told["Env"])
    health = told["Healthcheck"]["Test"]
    assert health[0] == "CMD"
    return Container([*told["Entrypoint"], *told["Cmd"]], environment, told["User"], health[1:])


@contextmanager
def _by_steps(base: Path, folder: Path, arguments: Mapping[str, str]) -> Iterator[Image]:
    """Run the steps of each stage in a root of its own."""
    defaults, stages = read_dockerfile()
    roots = dict[str, Path]()
    for number, stage in enumerate(stages):
        root = folder / f"stage{number}"
        base_name = expanded(stage.base, defaults)
        root.mkdir()
        if base_name in roots:
            said_by(["cp", "--archive", f"{roots[base_name]}/.", root])
        else:
            said_by(["tar", "--directory", root, "--extract", "--file", base])
        with _lending(root, folder):
            _Steps(root, roots, dict(arguments)).take(stage)
        roots[stage.name] = root
    yield Image(root, container_of(stages[-1]), "the steps of the Dockerfile")


@contextmanager
def _lending(root: Path, folder: Path) -> Iterator[None]:
    with ExitStack() as mounted:
        for ours, its in {**_lent(folder), Path("/etc/resolv.conf"): "/etc/resolv.conf", Path("/dev"): "/dev"}.items():
            place = root / its.lstrip("/")
            if ours.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            said_by(["mount", "--bind", ours, place])
            mounted.callback(said_by, ["umount", place])
        yield


class _Steps:
    """Takes the steps of a stage, one after the other, as a builder would."""

    def __init__(self, root: Path, roots: Mapping[str, Path], arguments: Mapping[str, str]) -> None:
        self._root, self._roots, self._given = root, roots, arguments
        self._variables, self._folder = {"PATH": PATH}, "/"

    def take(self, stage: Stage) -> None:
        for each in stage.instructions:
            self._take(each)

    def _take(self, step: Instruction) -> None:
        match step.word:
            case "ARG":
                self._variables |= {
                    name: self._given.get(name, value) for name, value in assignments(step.said).items()
                }
            case "ENV":
                expressions = assignments(step.said)
                self._variables |= {name: expanded(value, self._variables) for name, value in expressions.items()}
            case "WORKDIR":
                self._folder = step.said
                self._inside(step.said).mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(step.said.split())
            case "RUN":
                shell = ["chroot", self._root, "/bin/sh", "-ec", f"cd {self._folder} && {step.said}"]
                said_by(shell, self._variables)

    def _copy(self, words: list[str]) -> None:
        origin = CLONE
        if words[0].startswith("--from="):
            origin = self._roots[words.pop(0).removeprefix("--from=")]
        *sources, target = words
        for source in sources:
            place = self._inside(target)
            if target.endswith("/"):
                place /= Path(source).name
            if place.is_dir():
                shutil.rmtree(place)
            said_by(["cp", "--archive", origin / source.lstrip("/"), place])

    def _inside(self, path: str) -> Path:
        return self._root / self._folder.lstrip("/") / path.lstrip("/") if path[0] != "/" else self._root / path[1:]


def _lent(folder: Path) -> dict[Path, str]:
    """Return what is lent to a build: files and folders of this machine, and where it finds them."""
    told = said_by([sys.executable, "-m", "pip", "config", "list"])
    settings = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", told, re.MULTILINE))
    own = folder / "pip.conf"
    own.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    named = [each for value in settings.values() for each in value.split()]
    # An index names files beside it.
    beside = [Path(each.removeprefix("file://")).parent for each in named if each.startswith("file://")]
    places = {path for path in [*map(Path, named), *beside, _CERTIFICATES] if path.is_absolute() and path.exists()}
    apart = {path for path in places if not places.intersection(path.parents)}
    return {own: "/etc/pip.conf", **{path: f"{path}" for path in apart}}


def said_by(command: Sequence[object], environment: Mapping[str, str] | None = None) -> str:
    """Run it and return what it prints; its complaints are those of the test."""
    words = [str(each) for each in command]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)[:300]}\n{done.stdout[-5_000:]}{done.stderr[-5_000:]}"
    return done.stdout
