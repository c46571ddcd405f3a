"""What somebody gets who installs it: the distributions are built, looked into, installed elsewhere, and used there."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from streaming.evaluation.scoring import word_edits

ROOT = Path(__file__).parent.parent
CAPTIONS = ROOT / "demos" / "recordings" / "captions.flac"
PACKAGES = ("simul_whisper", "streaming")
NOT_SOURCES = ("build", "dist", "models", "site", "*.egg-info", "__pycache__")
CLIENT = """
import sys
sys.modules["mlx"] = None
import streaming.client
print(streaming.client.__file__)
"""


def run(command: Sequence[object], folder: Path) -> str:
    """Run it where no file of ours is to be found; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ran = subprocess.run(
        [str(each) for each in command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    # Building writes beside the sources, where other tests look.
    shutil.copytree(ROOT, folder / "sources", ignore=shutil.ignore_patterns(".*", *NOT_SOURCES))
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "sources"], folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def files_of(folder: Path) -> set[str]:
    """The files of this repository that are in a folder of it, as Git would list them."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_both_packages_with_the_page_and_the_licence_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    about = [name for name in names if ".dist-info/" in name]
    assert set(names) - set(about) == {name for package in PACKAGES for name in files_of(Path(package))}
    assert {"streaming/web/index.html", "streaming/py.typed", "simul_whisper/py.typed"} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in about)


def test_the_source_has_what_the_wheel_is_built_from(built: Path) -> None:
    (found,) = built.glob("*.tar.gz")
    with tarfile.open(found) as source:
        names = {"/".join(name.split("/")[1:]) for name in source.getnames()}
    wanted = {name for package in PACKAGES for name in files_of(Path(package))}
    assert wanted | {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == {*PACKAGES, "simul_whisper.egg-info"}


def environment_of(folder: Path) -> Path:
    """Make an environment without anything; return where its programs are."""
    venv.create(folder)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def seeing_other_packages(folder: Path) -> Path:
    """Make an environment that sees what is installed beside the tests, but not the editable project itself."""
    programs = environment_of(folder)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # A folder that is named in such a file is searched, while the files like this in it are not read.
    (packages / "beside_the_tests.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    return programs


def install(programs: Path, *what: object) -> None:
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet"]
    run([*pip, *what], programs)


def assert_it_works(programs: Path, folder: Path) -> None:
    assert "transcribe" in run([programs / "simul-whisper", "--help"], folder)
    assert re.search(r"^embedded +tiny\.en ", run([programs / "simul-whisper", "models"], folder), re.MULTILINE)
    text = run([programs / "simul-whisper", "transcribe", CAPTIONS, "--model", "tiny.en", "--quiet"], folder)
    assert word_edits(CAPTIONS.with_suffix(".txt").read_text("utf-8"), text, "en").errors <= 1
    assert Path(run([programs / "python", "-c", CLIENT], folder).strip()).is_relative_to(programs.parent)


def test_the_wheel_is_installed_and_hears(wheel: Path, tmp_path: Path) -> None:
    programs = seeing_other_packages(tmp_path / "environment")
    install(programs, "--no-deps", "--no-index", wheel)
    assert_it_works(programs, tmp_path)


@pytest.mark.long
def test_the_wheel_brings_all_that_it_needs(wheel: Path, tmp_path: Path) -> None:
    programs = environment_of(tmp_path / "environment")
    install(programs, f"{wheel}[cpu,embedded,live]")
    assert_it_works(programs, tmp_path)
