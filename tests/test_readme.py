"""The README tells the truth: its example runs as written, and its tables are made from the fields."""

import re
from pathlib import Path
from typing import Any

import pytest

from simul_whisper import AlignAttConfig, Model, Update
from streaming.cli.options import settings_table
from streaming.settings import VoiceConfig
from tests.conftest import Recording
from tests.listener import n_errors, text_of

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize("name", ["tiny.en", "base"])
def test_the_example_of_the_readme_runs_as_written(
    name: str, captions: Recording, tiny: Model, base: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"tiny.en": tiny, "base": base}
    monkeypatch.setattr("simul_whisper.whisper.load_model", lambda config, progress: models[config.model_name])  # noqa: ARG005
    block = re.search(r"## In a program\n\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    example = block[1].replace('model_name="base"', f'model_name="{name}"')
    kept: list[Update] = []
    scope = {"samples": captions.samples, "keep": kept.append}
    exec(re.sub(r"^(update = .*?\))( *#.*)?$", r"\1; keep(update)", example, flags=re.MULTILINE), scope)
    assert len(kept) == 2
    assert kept[-1].is_last
    assert n_errors(captions.transcript, text_of(kept)) <= 2


@pytest.mark.parametrize(("name", "config_class"), [("settings", AlignAttConfig), ("voice settings", VoiceConfig)])
def test_the_table_of_settings_is_made_from_the_fields(name: str, config_class: type[Any]) -> None:
    text = README.read_text(encoding="utf-8")
    table = text.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0]
    assert table == settings_table(config_class), "paste the output of: python -m streaming.cli.options"
