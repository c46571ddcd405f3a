"""Write the tables of settings in the documentation anew, from the fields.

    python -m scripts.settings_tables

A table stands between two comments with its name: <!-- settings --> and <!-- /settings -->.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simul_whisper import AlignAttConfig, TranslationConfig
from streaming.cli.options import settings_table
from streaming.output.cues import CaptionOptions
from streaming.server.limits import Limits
from streaming.settings import ClientLimits, ModelsConfig, RayConfig, VoiceConfig, WorkerConfig

DOCS = Path(__file__).parents[1] / "docs"
TABLES: Mapping[str, type[Any]] = {
    "settings": AlignAttConfig,
    "voice settings": VoiceConfig,
    "translation settings": TranslationConfig,
    "caption settings": CaptionOptions,
    "limits": Limits,
    "worker settings": WorkerConfig,
    "client limits": ClientLimits,
    "models settings": ModelsConfig,
    "ray settings": RayConfig,
}


def renewed(text: str) -> str:
    """Return the page with its tables as the fields have them now."""
    for name, settings in TABLES.items():
        first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        if first in text and last in text:
            before, after = text.split(first)[0], text.split(last)[1]
            table = settings_table(settings, flags=settings is not ClientLimits)
            text = f"{before}{first}{table}\n{last}{after}"
    return text


def main() -> None:
    for page in DOCS.rglob("*.md"):
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
