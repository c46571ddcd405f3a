"""The files of deploy/, read, and what they set."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.deploy.dockerfile import DEPLOY, container_of, read_dockerfile

KUBERNETES = DEPLOY / "kubernetes"
UNIT = DEPLOY / "simul-whisper.service"
MANIFESTS = ("cluster.yaml", "access.yaml")
_PREFIX = "SIMUL_WHISPER_"


def yaml_of(name: str) -> list[Any]:
    """Return the documents of a file."""
    import yaml

    return list(yaml.safe_load_all((DEPLOY / name).read_text("utf-8")))


def manifests() -> list[Any]:
    return [each for name in MANIFESTS for each in yaml_of(f"kubernetes/{name}")]


def cluster() -> Any:
    return next(each for each in manifests() if each["kind"] == "RayService")["spec"]


def pods() -> dict[str, Any]:
    """The templates of the cluster's pods, by the name of their group."""
    config = cluster()["rayClusterConfig"]
    groups = {each["groupName"]: each["template"] for each in config["workerGroupSpecs"]}
    return {"head": config["headGroupSpec"]["template"], **groups}


def container(pod: Any) -> Any:
    (only,) = pod["spec"]["containers"]
    return only


def gateway() -> Any:
    return container(pods()["gateway"])


def unit_settings() -> list[tuple[str, str]]:
    """Return the settings of the unit in order; some stand there more than once."""
    return re.findall(r"^(\w+)=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def unit() -> dict[str, str]:
    return dict(unit_settings())


def environments() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield what each file starts the server with, as far as it stands in the environment."""
    image = dict(container_of(read_dockerfile()[1][-1]).environment)
    lines = (DEPLOY / "simul-whisper.env").read_text("utf-8").splitlines()
    common = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    service = [pair for name, said in unit_settings() if name == "Environment" for pair in said.split()]
    composed = yaml_of("compose.yaml")[0]["services"]["server"]["environment"]
    pod = {each["name"]: each.get("value", "a token") for each in gateway()["env"]}
    yield "Dockerfile", ours(image)
    yield "simul-whisper.service", ours({**dict(pair.split("=", 1) for pair in service), **common})
    yield "compose.yaml", ours(image | common | {name: default_of(value) for name, value in composed.items()})
    yield "kubernetes", ours(image | pod)


def ours(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_PREFIX)}


def default_of(value: str) -> str:
    """Read ${NAME:-default} of a compose file; what must be set is anything."""
    return re.sub(r"\$\{\w+:([-?])([^}]*)\}", lambda found: found[2] if found[1] == "-" else "anything", value)


def seconds(text: str) -> float:
    """Read 40s."""
    return float(text.removesuffix("s"))
