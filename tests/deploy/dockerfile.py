"""What deploy/Dockerfile says: its instructions, stage by stage, and what a container is told by the last of them."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
# Where programs are in a base that says nothing of it.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Instruction:
    """word: RUN, COPY ...; said: the rest, lines that go on joined."""

    word: str
    said: str


@dataclass(frozen=True)
class Stage:
    """base: as FROM has it, with its variables. name: empty for the last one."""

    base: str
    name: str
    instructions: Sequence[Instruction]

    def all(self, word: str) -> list[str]:
        return [each.said for each in self.instructions if each.word == word]


@dataclass(frozen=True)
class Container:
    """How an image is run."""

    command: Sequence[str]
    environment: Mapping[str, str]
    user: str
    health: Sequence[str]


def read_dockerfile() -> tuple[dict[str, str], list[Stage]]:
    """Return the arguments above all stages with their defaults, and the stages."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    arguments, stages = dict[str, str](), list[Stage]()
    for line in filter(None, map(str.strip, text.splitlines())):
        word, said = line.split(maxsplit=1)
        if word == "FROM":
            base, _, name = said.partition(" AS ")
            stages.append(Stage(base, name, []))
        elif not stages:
            arguments |= assignments(said)
        else:
            stages[-1] = Stage(
                stages[-1].base, stages[-1].name, [*stages[-1].instructions, Instruction(word, " ".join(said.split()))]
            )
    return arguments, stages


def assignments(said: str) -> dict[str, str]:
    """Read what follows ARG, ENV or LABEL."""
    pairs = (each.partition("=") for each in shlex.split(said))
    return {name: value for name, _, value in pairs}


def container_of(stage: Stage) -> Container:
    """Return how an image of this stage is run."""
    (entry,), (command,), (health,), (user,) = map(stage.all, ("ENTRYPOINT", "CMD", "HEALTHCHECK", "USER"))
    told = {name: value for said in stage.all("ENV") for name, value in assignments(said).items()}
    environment = {name: expanded(value, {"PATH": PATH}) for name, value in told.items()}
    return Container([*json.loads(entry), *json.loads(command)], environment, user, json.loads(health.split("CMD ")[1]))


def expanded(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], ""), text)
