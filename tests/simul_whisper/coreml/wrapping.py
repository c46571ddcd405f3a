"""Scripts that wrap a command of ours, and the command that they make of their arguments."""

import os
import subprocess
from pathlib import Path


def run_script(script: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a command in place of ours that prints its arguments."""
    command = folder / "simul-whisper"
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    command.chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([script, *arguments], capture_output=True, text=True, check=False, env=os.environ | path)
