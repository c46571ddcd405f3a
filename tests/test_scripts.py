"""The scripts, in their short form."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_fault_ends_well() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.faults", "--short"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _, *rows = ran.stdout.splitlines()
    assert [row.split()[-1] for row in rows] == ["yes"] * 6
