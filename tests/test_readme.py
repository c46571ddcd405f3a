"""The README tells the truth about settings."""

from pathlib import Path

from streaming.cli.options import settings_table

README = Path(__file__).parent.parent / "README.md"


def test_the_table_of_settings_is_made_from_the_fields() -> None:
    text = README.read_text(encoding="utf-8")
    table = text.split("<!-- settings -->\n")[1].split("\n<!-- /settings -->")[0]
    assert table == settings_table(), "paste the output of: python -m streaming.cli.options"
