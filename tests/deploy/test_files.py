"""What stands in deploy/ is what the program knows, and what one file says of it the others say, too."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streaming.cli import parser_of
from streaming.cli.environment import strangers, variable_of
from streaming.server.limits import Limits
from tests.deploy.dockerfile import DEPLOY, container_of, read_dockerfile
from tests.deploy.files import (
    cluster,
    container,
    environments,
    gateway,
    manifests,
    pods,
    seconds,
    unit,
    unit_settings,
    yaml_of,
)

CLONE = DEPLOY.parent
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
# After the drain time, the process has ended so soon: docs/server.md, Stop it.
LAST_S = 10.0
# Of KubeRay's RayService, as far as we use it.
SERVICE_KEYS = {"serveConfigV2", "rayClusterDeletionDelaySeconds", "rayClusterConfig"}
CLUSTER_KEYS = set(
    "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs".split()
)
GROUP_KEYS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}

pytest.importorskip("yaml", reason="needs the extra dev")


def name_of(path: Path) -> str:
    return path.relative_to(DEPLOY).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_program_knows_each_variable_and_each_flag(path: Path) -> None:
    text, flags = path.read_text("utf-8"), parser_of(["serve"]).parse_args(["serve"])
    assert strangers(dict.fromkeys(re.findall(r"SIMUL_WHISPER_[A-Z_]+", text), "x"), serve_variables()) == []
    for command in re.findall(r"simul-whisper (serve [^\n;`]*--[^\n;`]*)", text):
        parser_of(["serve"]).parse_args(shlex.split(command))
    for flag in re.findall(r"(?<!\w)--((?:max|idle|drain|resume)-\w+)", text):
        assert hasattr(flags, flag.replace("-", "_")) or hasattr(Limits(), flag.replace("-", "_")), flag


def serve_variables() -> set[str]:
    commands = next(action for action in parser_of(["serve"])._actions if hasattr(action, "choices") and action.choices)
    assert isinstance(commands.choices, dict)
    return {variable_of(action) for action in commands.choices["serve"]._actions}


@pytest.mark.parametrize(
    ("file", "environment"), list(environments()), ids=lambda each: each if isinstance(each, str) else ""
)
def test_what_a_file_sets_can_be_set(
    file: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = parser_of(["serve"]).parse_args(["serve"])
    assert options.port == 8000
    assert options.host == ("127.0.0.1" if file.endswith("service") else "0.0.0.0")
    if file != "Dockerfile":
        assert options.root_path == "/captions"
        assert options.admin_port == 8001
        assert options.token or options.token_file


def test_all_agree_on_the_ports() -> None:
    image = read_dockerfile()[1][-1]
    assert image.all("EXPOSE") == [container_of(image).environment["SIMUL_WHISPER_PORT"]] == ["8000"]
    assert yaml_of("compose.yaml")[0]["services"]["server"]["ports"] == ["127.0.0.1:8000:8000"]
    assert {each["name"]: each["containerPort"] for each in gateway()["ports"]} == {"http": 8000, "admin": 8001}
    proxies = [(DEPLOY / name).read_text("utf-8") for name in ("nginx.conf", "Caddyfile")]
    assert {port for text in proxies for port in re.findall(r"127\.0\.0\.1:(\d+)", text)} == {"8000"}


def test_no_site_of_nginx_has_the_usual_log_in_which_tokens_would_stand() -> None:
    _, *sites = (DEPLOY / "nginx.conf").read_text("utf-8").split("\nserver {")
    assert sites
    assert all(re.search(r"access_log (off|\S+ captions);", site) for site in sites)


def test_all_wait_until_it_has_drained() -> None:
    ended_s = Limits().drain_s + LAST_S
    assert seconds(unit()["TimeoutStopSec"]) > ended_s
    assert seconds(yaml_of("compose.yaml")[0]["services"]["server"]["stop_grace_period"]) > ended_s
    assert pods()["gateway"]["spec"]["terminationGracePeriodSeconds"] > ended_s
    # Its other processes are the server's own to end, after that.
    assert unit()["KillMode"] == "mixed"


def test_proxies_let_through_what_the_server_takes() -> None:
    most = Limits().max_upload
    sizes = re.findall(r"client_max_body_size (\d+)m", (DEPLOY / "nginx.conf").read_text("utf-8"))
    sizes += re.findall(r"proxy-body-size: (\d+)m", (DEPLOY / "kubernetes" / "access.yaml").read_text("utf-8"))
    assert len(sizes) == 2
    assert all(most < int(size) << 20 <= 1.1 * most for size in sizes)


def test_an_image_has_one_user_and_one_volume() -> None:
    image = read_dockerfile()[1][-1]
    user, group = container_of(image).user.split(":")
    assert f"--uid {user} " in image.all("RUN")[0]
    for pod in pods().values():
        asked = pod["spec"]["securityContext"]
        assert (asked["runAsUser"], asked["runAsGroup"], asked["runAsNonRoot"]) == (int(user), int(group), True)
    (volume,) = image.all("VOLUME")
    variables = container_of(image).environment
    assert all(variables[name].startswith(f"{volume}/") for name in ("HF_HOME", "SIMUL_WHISPER_CACHE"))
    server = yaml_of("compose.yaml")[0]["services"]["server"]
    assert server["volumes"] == [f"models:{volume}"]
    assert server["read_only"]
    for group_name in ("gateway", "replica"):
        assert container(pods()[group_name])["volumeMounts"] == [{"name": "models", "mountPath": volume}]


def test_what_the_image_is_built_from_is_there_and_is_let_through() -> None:
    build = read_dockerfile()[1][1]
    ignored = (CLONE / ".dockerignore").read_text("utf-8").splitlines()
    copied = [name for said in build.all("COPY") for name in said.split()[:-1]]
    assert copied == [line[1:] for line in ignored if line.startswith("!")]
    assert all((CLONE / name).exists() for name in copied)
    extras = re.findall(r"^(\w+) = \[", (CLONE / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    named = [value for said in build.all("ARG") for value in said.partition("=")[2].split(",")]
    assert set(named) <= set(extras)
    comments = " ".join(path.read_text("utf-8") for path in FILES)
    assert {each for list_ in re.findall(r"EXTRAS=([\w,]+)", comments) for each in list_.split(",")} <= set(extras)


def test_the_cluster_runs_what_ray_yaml_says() -> None:
    import yaml

    assert yaml.safe_load(cluster()["serveConfigV2"]) == yaml_of("ray.yaml")[0]


def test_the_manifests_are_kubernetes() -> None:
    """Those of Ray's are checked by hand, but for the pods in them."""
    validate = pytest.importorskip("kubernetes_validate", reason="needs the extra dev")
    for each in manifests():
        if each["kind"] != "RayService":
            validate.validate(each, "1.36", strict=True)
    for name, pod in pods().items():
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **pod.get("metadata", {})}}
        validate.validate({**whole, "spec": pod["spec"]}, "1.36", strict=True)


def test_the_cluster_is_one_of_ray() -> None:
    service, config = cluster(), cluster()["rayClusterConfig"]
    assert service.keys() == SERVICE_KEYS
    assert config.keys() == CLUSTER_KEYS
    assert config["headGroupSpec"].keys() == {"rayStartParams", "template"}
    least = re.search(r"ray\[serve\]>=([\d.]+)", (CLONE / "pyproject.toml").read_text("utf-8"))
    assert least
    assert version_of(config["rayVersion"]) >= version_of(least[1])
    for group in config["workerGroupSpecs"]:
        assert group.keys() == GROUP_KEYS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    # Replicas are made where there are processors to give away, which is on nodes for replicas only.
    groups = {each["groupName"]: each for each in config["workerGroupSpecs"]}
    given = [config["headGroupSpec"]["rayStartParams"], groups["gateway"]["rayStartParams"]]
    assert [each["num-cpus"] for each in given] == ["0", "0"]
    assert "--num-cpus 0" in gateway()["args"][0]
    (deployment,) = yaml_of("ray.yaml")[0]["applications"][0]["deployments"]
    assert groups["replica"]["maxReplicas"] >= deployment["autoscaling_config"]["max_replicas"]
    asked = int(container(pods()["replica"])["resources"]["limits"]["cpu"])
    assert asked >= deployment["ray_actor_options"]["num_cpus"]


def version_of(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


def test_what_is_selected_is_there() -> None:
    gateways = pods()["gateway"]["metadata"]["labels"].items()
    by_name = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in manifests()}
    assert by_name["Service", "captions"]["selector"].items() <= gateways
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        spec = by_name[kind, "captions-gateways"]
        assert spec.get("selector", spec.get("podSelector"))["matchLabels"].items() <= gateways
    replicas = by_name["PodDisruptionBudget", "captions-replicas"]["selector"]["matchLabels"]
    assert replicas.items() <= pods()["replica"]["metadata"]["labels"].items()
    ports = {each["name"] for each in gateway()["ports"]}
    assert {each["targetPort"] for each in by_name["Service", "captions"]["ports"]} <= ports


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml"])
def test_the_files_for_compose_are_compose(name: str) -> None:
    schemas = pytest.importorskip("check_jsonschema", reason="needs the extra dev")
    import json

    import jsonschema

    path = Path(schemas.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(yaml_of(name)[0], json.loads(path.read_text("utf-8")))


def test_compose_believes_its_own_proxy_and_nobody_else() -> None:
    compose: Any = yaml_of("compose.yaml")[0]
    address = compose["services"]["proxy"]["networks"]["default"]["ipv4_address"]
    assert compose["services"]["server"]["environment"]["SIMUL_WHISPER_FORWARDED_ALLOW_IPS"] == address
    assert compose["services"]["proxy"]["environment"]["CAPTIONS_SERVER"] == "server:8000"
    assert set(compose["volumes"]) == {"models", "certificates"}


def test_the_unit_keeps_what_it_must_to_drain_and_to_reload() -> None:
    settings = unit_settings()
    assert ("ExecReload", "/bin/kill -HUP $MAINPID") in settings
    # Without a file of tokens, SIGHUP would end the server.
    assert ("Environment", "SIMUL_WHISPER_TOKEN_FILE=/etc/simul-whisper/tokens") in settings


def test_what_is_to_be_watched_is_measured() -> None:
    """docs/server.md has all names, which a test compares with what is told."""
    deploying, server = ((CLONE / "docs" / name).read_text("utf-8") for name in ("deploying.md", "server.md"))
    pages = (deploying, server.partition("\n## Metrics\n")[2])
    watched, measured = (set(re.findall(r"`(\w+)`", first_cells(page, "| name |"))) for page in pages)
    assert watched
    assert watched <= measured


def first_cells(page: str, head: str) -> str:
    """The first column of the table that begins so."""
    table = page.partition(head)[2].partition("\n\n")[0]
    return "".join(line.split("|")[1] for line in table.splitlines()[2:])
