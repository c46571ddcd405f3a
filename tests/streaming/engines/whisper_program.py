"""A program that takes the flags of whisper.cpp's `whisper-cli` and writes what that writes, hearing nothing.

Its model is a JSON file that says what it tells and does; what it was given, it writes beside that.
"""

import json
import sys
import time
import wave
from pathlib import Path
from typing import Any

TAKE_ONE = {f"--{name}" for name in "model file language output-file beam-size threads prompt".split()}
TAKE_NONE = {f"--{name}" for name in "translate output-json-full output-json print-progress".split()}


def refuse(complaint: str, status: int = 0) -> None:
    sys.stderr.write(f"error: {complaint}\n\nusage: whisper-cli [options] file0 file1 ...\n\noptions:\n")
    sys.exit(status)


def given_flags(lacks: list[str]) -> dict[str, Any]:
    given, rest = dict[str, Any](), iter(sys.argv[1:])
    for flag in rest:
        if flag in lacks or flag not in TAKE_ONE | TAKE_NONE:
            refuse(f"unknown argument: {flag}")
        given[flag] = next(rest) if flag in TAKE_ONE else True
    return given


def text(value: str) -> bytes:
    """Texts are escaped by hand there: these two characters, and no others."""
    return b'"' + value.encode("latin-1").replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def times(start_ms: int, end_ms: int) -> bytes:
    start, end = (f"00:00:{ms // 1000:02},{ms % 1000:03}" for ms in (start_ms, end_ms))
    stamps = f'"timestamps": {{"from": "{start}", "to": "{end}"}}'
    return f'{stamps}, "offsets": {{"from": {start_ms}, "to": {end_ms}}}, '.encode()


def token(said: dict[str, Any]) -> bytes:
    placed = times(*said["ms"]) if "ms" in said else b""
    numbers = f'"id": {said.get("id", 400)}, "p": {said.get("p", 0.5)}, "t_dtw": -1'
    return b'{"text": ' + text(said["text"]) + b", " + placed + numbers.encode() + b"}"


def segment(said: dict[str, Any]) -> bytes:
    whole = text("".join(each["text"] for each in said["tokens"]))
    tokens = b",\n".join(map(token, said["tokens"]))
    return b"{" + times(*said["ms"]) + b'"text": ' + whole + b', "tokens": [' + tokens + b"]}"


def written(told: dict[str, Any]) -> bytes:
    if "content" in told:
        return bytes(told["content"].encode("latin-1") * told.get("times", 1))
    about = json.dumps({"model": {"multilingual": told["multilingual"], "vocab": 51865}})[:-1]
    result = f', "result": {{"language": "{told["language"]}"}}, "transcription": [\n'
    return about.encode() + result.encode() + b",\n".join(map(segment, told["segments"])) + b"]}\n"


def main() -> None:
    model = Path(sys.argv[sys.argv.index("--model") + 1])
    told = json.loads(model.read_text("utf-8"))
    given = given_flags(told.get("lacks", []))
    with wave.open(given["--file"]) as audio:
        heard = {"rate": audio.getframerate(), "channels": audio.getnchannels(), "bytes": audio.getsampwidth()}
        heard["samples"] = audio.getnframes()
    with Path(f"{model}.given").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(given | heard) + "\n")
    for percent in (0, 47, 94, 141):
        sys.stderr.write(f"whisper_print_progress_callback: progress = {percent:3d}%\n")
        sys.stderr.flush()
    if told.get("hangs"):
        time.sleep(600)
    sys.stderr.write(told.get("says", ""))
    if content := written(told):
        Path(f"{given['--output-file']}.json").write_bytes(content)
    sys.exit(told.get("status", 0))


if __name__ == "__main__":
    main()
