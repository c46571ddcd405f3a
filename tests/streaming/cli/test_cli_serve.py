"""`serve` and `connect` as somebody runs them, with the embedded tiny.en."""

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest
from websockets.sync.client import connect

from streaming.audio.files import read_audio
from streaming.cli import main
from streaming.protocols.native import PATH, client_text
from streaming.sessions.request import SessionRequest
from tests.streaming.serving import PATIENCE_S, s16, serving

ROOT = Path(__file__).parents[3]
CAPTIONS = ROOT / "demos" / "recordings" / "captions.flac"
COMMAND = [sys.executable, "-m", "streaming.cli"]
SERVE = [*COMMAND, "serve", "--port", "0", "--model", "tiny.en", "--padding-len", "1"]


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


SPOKEN = words_of(CAPTIONS.with_suffix(".txt").read_text("utf-8"))


@contextmanager
def run_server(*flags: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server that is ready and has said what runs, and its address."""
    with subprocess.Popen([*SERVE, *flags], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            address, said = "", ""
            for line in process.stderr:
                address = found[0] if (found := re.findall(r"listening on (\S+);", line)) else address
                said += line
                if "ready" in line:
                    break
            assert re.search(r"model \S+, encoder .+, decoder .+\n.*ready", said)
            yield process, address
        finally:
            process.kill()


def test_a_file_is_served_and_sigterm_ends_well() -> None:
    with run_server("--token", "secret") as (process, address):
        assert address.startswith("http://127.0.0.1:")
        ran = subprocess.run(
            [*COMMAND, "connect", address, str(CAPTIONS), "--token", "secret"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert words_of(ran.stdout) == SPOKEN
        with urllib.request.urlopen(address + "/health") as answer:
            assert json.loads(answer.read())["ready"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def health_status(address: str) -> int:
    try:
        with urllib.request.urlopen(address + "/health") as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_a_second_signal_ends_the_server_at_once() -> None:
    served = run_server("--drain-s", "1000")
    with served as (process, address), connect(f"{address.replace('http', 'ws')}{PATH}") as socket:
        socket.send(client_text(SessionRequest()))
        socket.recv()
        process.send_signal(signal.SIGTERM)
        while health_status(address) == 200:
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == -signal.SIGTERM


@pytest.mark.parametrize(("last_s", "number"), [(0.1, signal.SIGALRM), (1000, signal.SIGTERM)])
def test_a_process_that_is_to_end_ends_whatever_runs(last_s: float, number: signal.Signals) -> None:
    program = f"""
import ctypes
from streaming.server.run import end_process_within
end_process_within({last_s})
print("hanging", flush=True)
ctypes.PyDLL(None).sleep(1000)  # It keeps all of Python waiting.
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "hanging\n"
        if number is signal.SIGTERM:
            process.send_signal(number)
        assert process.wait(PATIENCE_S) == -number


def test_a_certificate_of_ones_own_serves_those_who_trust_it(
    certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_server("--tls-cert", certificate[0], "--tls-key", certificate[1]) as (_, address):
        assert address.startswith("https://127.0.0.1:")
        assert main(["connect", address, str(CAPTIONS)]) == 2
        assert "certificate verify failed" in capsys.readouterr().err
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        assert main(["connect", address.replace("https", "wss"), str(CAPTIONS)]) == 0
        assert words_of(capsys.readouterr().out) == SPOKEN


@pytest.mark.skipif(not shutil.which("apertium"), reason="needs apertium, with English and Spanish")
def test_a_client_asks_for_translations(capsys: pytest.CaptureFixture[str]) -> None:
    with run_server("--to", "es") as (_, address):
        assert main(["connect", address, str(CAPTIONS), "--to", "Spanish"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert words_of(" ".join(line for line in lines if not line.startswith("es: "))) == SPOKEN
        assert "palabras" in words_of(" ".join(line for line in lines if line.startswith("es: ")))
        assert main(["connect", address, str(CAPTIONS), "--to", "ja"]) == 2
        err = capsys.readouterr().err
        assert "Japanese" in err
        assert len(err.splitlines()) == 1


def test_standard_input_is_raw_audio() -> None:
    with run_server() as (_, address):
        ran = subprocess.run(
            [*COMMAND, "connect", address, "-", "--format", "srt"],
            cwd=ROOT,
            input=s16(read_audio(CAPTIONS)),
            capture_output=True,
            check=False,
        )
    assert ran.returncode == 0
    lines = [line for line in ran.stdout.decode().splitlines() if line and not re.match(r"[\d:,> -]+$", line)]
    assert words_of(" ".join(lines)) == SPOKEN


def test_a_model_that_cannot_be_loaded_ends_the_server() -> None:
    ran = subprocess.run(
        [*COMMAND, "serve", "--port", "0", "--model", "no-such-model"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "no-such-model" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["serve", "--max-sessions", "-1"], "max_sessions"),
        (["serve", "--port", "70000"], "70000"),
        (["serve", "--tls-key", "key.pem"], "--tls-cert"),
        (["serve", "--token-file", "missing"], "missing"),
        (["serve", "--token", ""], "--token"),
        (["serve", "--max-waiting", "1000000000"], "open files"),
        (["serve", "--port", "0", "--admin-port", "70000"], "70000"),
        (["serve", "--tls-cert", "missing.pem"], "TLS"),
        (["connect", "ws://127.0.0.1:1", "missing.wav"], "missing.wav"),
        (["connect", "nowhere", str(CAPTIONS)], "expected a URL"),
        (["connect", "ws://127.0.0.1:1", str(CAPTIONS), "--speak", "a.mp3"], "ends with .wav"),
        (["connect", "ws://127.0.0.1:1", str(CAPTIONS), "--speak", "missing/a.wav"], "folder does not exist"),
        (["connect", "ws://127.0.0.1:1", str(CAPTIONS), "--to", "klingon"], "got language 'klingon'"),
        (
            ["connect", "ws://127.0.0.1:1", str(CAPTIONS), "--to", "es", "--format", "srt"],
            "give --format text or jsonl",
        ),
        (["serve", "--to", "klingon"], "got language 'klingon'"),
        (["connect", "ws://127.0.0.1:1", str(CAPTIONS)], "ws://127.0.0.1:1"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_refusal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as served:
        assert main(["connect", served.url, str(CAPTIONS), "--language", "klingon"]) == 2
    assert "klingon" in capsys.readouterr().err


def test_sighup_reads_the_tokens_again_unless_they_are_bad(tmp_path: Path) -> None:
    path = tmp_path / "tokens"

    def status(token: str) -> int:
        request = urllib.request.Request(address + "/v1/model", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def hang_up(text: str) -> str:
        path.write_text(text, "utf-8")
        process.send_signal(signal.SIGHUP)
        assert process.stderr
        return process.stderr.readline()

    path.touch(0o600)
    path.write_text("alice " + "a" * 20, "utf-8")
    with run_server("--token-file", str(path)) as (process, address):
        assert [status("a" * 20), status("b" * 20)] == [200, 401]
        assert "bob" in hang_up("bob " + "b" * 20)
        assert [status("a" * 20), status("b" * 20)] == [401, 200]
        said = hang_up("bob")
        assert str(path) in said
        assert "stay as they were" in said
        assert [status("a" * 20), status("b" * 20)] == [401, 200]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("token", ["", "\udcff"])
def test_a_token_of_the_environment_that_cannot_be_sent_is_one_line(
    token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMUL_WHISPER_TOKEN", token)
    assert main(["serve", "--port", "0"]) == 2
    err = capsys.readouterr().err
    assert "SIMUL_WHISPER_TOKEN" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("source", ["text", b"RIFFxxxx"])
def test_a_file_that_is_no_audio_is_one_line(source: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_bytes(source.encode() if isinstance(source, str) else source)
    with serving() as served:
        ran = subprocess.run(
            [*COMMAND, "connect", served.url, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert ran.returncode == 2
    assert "notes.wav" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
