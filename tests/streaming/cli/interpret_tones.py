"""`simul-whisper` as a program, with the model and the voice of tones in place of real ones. Run it as a script."""

import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]


def tests_package() -> None:
    """Let `tests` be this one, as pytest does, though another package of that name is installed."""
    package = ModuleType("tests")
    package.__path__ = [str(ROOT / "tests")]
    sys.modules["tests"] = package


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    tests_package()
    import simul_whisper
    from streaming.cli import main
    from tests.tone_voice import ToneVoices
    from tests.tones import tone_model

    vars(simul_whisper).update(load_model=lambda *_: tone_model(), open_voices=lambda *_: ToneVoices())
    sys.exit(main())
