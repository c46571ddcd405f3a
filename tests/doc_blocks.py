"""The fenced blocks of Markdown pages, and what the comment before each says of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).parent.parent
README = CLONE / "README.md"
DOCS = CLONE / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"\s*```(.*)")
_MARK = re.compile(r"\s*<!-- (parsed|not run): \S.* -->")


@dataclass(frozen=True)
class Block:
    """line: of its fence, from 1. mark: `parsed`, `not run`, or empty for a block that is run."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(CLONE)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, those that go on joined, without empty ones and comments of a whole line."""
        lines = (line.strip() for line in self.text.replace("\\\n", " ").splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(*languages: str) -> list[Block]:
    """Return the blocks in these languages of all pages; without languages, all."""
    found = [block for page in PAGES for block in _blocks_of(page)]
    return [block for block in found if not languages or block.language in languages]


def _blocks_of(page: Path) -> Iterator[Block]:
    before, opened, inside = "", None, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if opened is None and fence:
            mark = _MARK.fullmatch(before)
            opened, inside = (number, fence[1].strip(), mark[1] if mark else ""), []
        elif opened is not None and fence:
            yield Block(page, *opened, "".join(f"{each}\n" for each in inside))
            opened = None
        elif opened is not None:
            inside.append(line)
        before = line
    assert opened is None, f"{page}:{opened}: the block has no end"
