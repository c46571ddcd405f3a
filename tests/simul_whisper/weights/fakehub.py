"""A hub on the loopback interface with the few endpoints that a download needs, and faults on demand."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

COMMIT = "c0ffee" + "0" * 34


class FakeHub(ThreadingHTTPServer):
    """Serves the files of `directory` as the only model, `model_id`.

    break_once: files whose first download loses its connection half-way; refuse: files that answer with an error;
    withheld: files that never come. silent: it takes requests and never answers. requests: the paths of all of them.
    """

    block_on_close = False

    def __init__(self, model_id: str, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model_id = model_id
        self.files = {
            file.relative_to(directory).as_posix(): file.read_bytes() for file in directory.rglob("*") if file.is_file()
        }
        self.break_once: set[str] = set()
        self.refuse: set[str] = set()
        self.downloads: list[tuple[str, str | None]] = []
        self.requests: list[str] = []
        self.withheld: set[str] = set()
        self.silent = False
        self.over = Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def fake_hub(model_id: str, directory: Path) -> Iterator[FakeHub]:
    with FakeHub(model_id, directory) as hub:
        thread = Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        yield hub
        hub.over.set()
        hub.shutdown()
        thread.join()


def be_the_hub(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client take this for the hub, and `cache` for its cache, as HF_ENDPOINT and HF_HUB_CACHE would."""
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in (("ENDPOINT", hub.endpoint), ("HUGGINGFACE_CO_URL_TEMPLATE", template)):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *_args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(path)
        if self.server.silent:
            self.server.over.wait()
            return
        model_id = re.escape(self.server.model_id)
        if re.fullmatch(rf"/api/models/{model_id}(/revision/main)?", path):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.server.files.items()]
            self._answer_json({"id": self.server.model_id, "sha": COMMIT, "siblings": siblings})
        elif path == f"/api/models/{self.server.model_id}/tree/{COMMIT}":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": f"etag-{name}"}
                for name, content in self.server.files.items()
            ]
            self._answer_json(entries)
        elif found := re.fullmatch(rf"/{model_id}/resolve/{COMMIT}/(.+)", path):
            self._answer_file(found[1])
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def _answer_json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer_file(self, name: str) -> None:
        content = self.server.files[name]
        headers = {"ETag": f'"etag-{name}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if self.command == "HEAD":
            self._answer(200, content, headers)
            return
        wanted = self.headers["Range"]
        self.server.downloads.append((name, wanted))
        if name in self.server.withheld:
            self.server.over.wait()
        elif name in self.server.refuse:
            self._answer(403, b"", {})
        elif wanted:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._answer(206, content[start:], headers)
        elif name in self.server.break_once:
            self.server.break_once.remove(name)
            self._answer(200, content, headers, n_sent=len(content) // 2)
        else:
            self._answer(200, content, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str], n_sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:n_sent])
