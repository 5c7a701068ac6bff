"""What deploys the service names what the code has: commands, options, paths, ports, metrics, files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kasauti.cli.main import VERBS
from kasauti.serve.figures import SLO, Figures

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
KUBERNETES = {
    (one["kind"], one["metadata"]["name"]): one
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for one in yaml.safe_load_all(path.read_text("utf-8"))
    if "metadata" in one
}
POD = KUBERNETES["Deployment", "kasauti"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/kasauti.json").read_text("utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
SCRAPE = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
QUERIES = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(rule["expr"] for rule in ALERTS),
]
COMMANDS = {
    "Dockerfile": json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)[-1]),
    "compose.yaml": COMPOSE["services"]["kasauti"]["command"],
    "deployment.yaml": CONTAINER["args"],
}


def options_of(verb: str) -> Any:
    """The parser of a command."""
    import argparse

    from kasauti.cli.command import add_common

    parser = argparse.ArgumentParser(exit_on_error=False)
    add_common(parser)
    VERBS[verb].add(parser)
    return parser


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_one_that_the_command_line_takes(name):
    verb, *given = COMMANDS[name]
    found = options_of(verb).parse_args(given)
    assert (verb, found.host, found.port, found.task) == ("serve", "0.0.0.0", 8000, "/task")


def test_every_setting_of_the_environment_is_one_that_the_code_reads():
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src/kasauti").rglob("*.py"))
    given = {one["name"] for one in CONTAINER["env"]} | set(COMPOSE["services"]["kasauti"]["environment"])
    own = {name for name in given if name.startswith("KASAUTI_")}
    assert own == {"KASAUTI_REGISTRY", "KASAUTI_DATABASE_URL"}
    assert all(f'"{name}"' in source for name in own)


def test_calls_are_not_left_on_a_disk_that_goes_with_its_pod():
    parser = options_of("serve")
    assert {volume["name"]: volume for volume in POD["spec"]["volumes"]}["state"].get("emptyDir")
    assert parser.parse_args(CONTAINER["args"][1:]).when_away == "refuse"
    assert parser.parse_args(COMMANDS["compose.yaml"][1:]).when_away == "spool"


def test_the_extras_of_the_image_are_the_packages():
    import tomllib

    there = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r'"\.\[(\w+)\]"', DOCKERFILE)) == {"postgres"} <= set(there)


def test_one_port_everywhere():
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, flags=re.MULTILINE) == ["8000"]
    assert re.search(r"http://127\.0\.0\.1:8000/", DOCKERFILE)
    assert [port["containerPort"] for port in CONTAINER["ports"]] == [8000]
    assert POD["metadata"]["annotations"]["prometheus.io/port"] == "8000"
    assert SCRAPE["static_configs"][0]["targets"] == ["kasauti:8000"]
    assert COMPOSE["services"]["kasauti"]["ports"] == ["127.0.0.1:8000:8000"]


def test_every_path_that_is_asked_is_one_that_the_service_answers():
    source = (ROOT / "src/kasauti/serve/app.py").read_text("utf-8")
    there = set(re.findall(r'@app\.(?:get|post)\("(/[^"]*)"\)', source))
    probes = {CONTAINER[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    asked = {*probes, SCRAPE["metrics_path"], POD["metadata"]["annotations"]["prometheus.io/path"]}
    asked |= set(re.findall(r"127\.0\.0\.1:8000(/\w+)", DOCKERFILE))
    asked |= {path for query in QUERIES for path in re.findall(r"/[\w/]+(?=[|\"])", query)}
    assert asked <= there
    assert {"/readyz", "/healthz", "/metrics", "/classify", "/v1/chat/completions"} <= asked


def samples() -> dict[str, set[str]]:
    """Names of the samples that the service shows → the names of their labels."""
    found = {}
    for family in Figures().registry.collect():
        labels = set(getattr(family, "_labelnames", ())) or _labels(family.name)
        base = family.name
        names = {"counter": [f"{base}_total"], "gauge": [base]}.get(
            family.type, [f"{base}_bucket", f"{base}_sum", f"{base}_count"]
        )
        for name in names:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set()) | {"job", "instance"}
    return found


def _labels(name: str) -> set[str]:
    for one in vars(Figures()).values():
        if getattr(one, "_name", "") == name:
            return set(one._labelnames)
    return set()


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_and_label_that_is_asked_for_is_exported(query):
    there = samples()
    plain = re.sub(r'"[^"]*"', '""', query)
    named = re.findall(r"\b(kasauti_\w+)(?:\{([^}]*)\})?", plain)
    assert named or query.startswith("up{")
    for name, chosen in named:
        assert name in there, name
        assert set(re.findall(r"(\w+)\s*=", chosen)) <= there[name]
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", plain) for label in group.split(",")}
    assert grouped <= set().union(*(there[name] for name, _ in named)) if named else True


def test_the_aim_is_an_edge_of_the_buckets():
    edges = {edge for query in QUERIES for edge in re.findall(r'le="([^"]+)"', query)}
    assert edges == {str(SLO)}


def test_panels_do_not_lie_on_each_other():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not own & taken
        assert at["x"] + at["w"] <= 24
        taken |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_image_is_built_from_files_that_are_sent_and_runs_without_rights():
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
              for name in line.split()]  # fmt: skip
    assert sorted(name.removeprefix("./") for name in copied) == sorted(sent)
    assert all((ROOT / name).exists() for name in sent)
    (user,) = re.findall(r"^USER (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert int(user) == POD["spec"]["securityContext"]["runAsUser"] > 0
    assert set(re.findall(r"^FROM .* AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)) >= {"cpu", "cuda"}


def test_the_images_python_is_one_that_the_package_supports():
    import tomllib

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    for version in re.findall(r"^FROM python:(\d+\.\d+)-slim", DOCKERFILE, flags=re.MULTILINE):
        assert tuple(map(int, version.split("."))) >= tuple(map(int, wanted.removeprefix(">=").split(".")))


def test_every_file_that_compose_mounts_is_there():
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), f"{name} mounts {source}"
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"]
        for secret in service.get("secrets", ()):
            assert secret in COMPOSE["secrets"]
    hosts = {*COMPOSE["services"]}
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text("utf-8"))
    for address in (SCRAPE["static_configs"][0]["targets"][0], sources["datasources"][0]["url"]):
        assert re.sub(r"^\w+://", "", address).partition(":")[0] in hosts
    assert sources["datasources"][0]["uid"] == DASHBOARD["panels"][0]["datasource"]["uid"]


def test_what_was_taken_is_answered_before_a_container_is_killed():
    seconds = float(COMMANDS["deployment.yaml"][COMMANDS["deployment.yaml"].index("--timeout") + 1])
    pause = float(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert POD["spec"]["terminationGracePeriodSeconds"] > seconds + pause
    given = COMMANDS["compose.yaml"]
    patience = COMPOSE["services"]["kasauti"]["stop_grace_period"]
    assert float(patience.removesuffix("s")) > float(given[given.index("--timeout") + 1])


def test_what_selects_the_pods_is_what_they_are_called():
    labels = POD["metadata"]["labels"].items()
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        chosen = KUBERNETES[kind, "kasauti"]["spec"]["selector"]
        assert chosen.get("matchLabels", chosen).items() <= labels
    assert KUBERNETES["NetworkPolicy", "kasauti"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    target = KUBERNETES["HorizontalPodAutoscaler", "kasauti"]["spec"]["scaleTargetRef"]
    assert ("Deployment", target["name"]) in KUBERNETES
    least = KUBERNETES["HorizontalPodAutoscaler", "kasauti"]["spec"]["minReplicas"]
    assert KUBERNETES["PodDisruptionBudget", "kasauti"]["spec"]["minAvailable"] < least


def test_the_task_of_the_manifest_is_one(tmp_path):
    from kasauti.core.task import load_task
    from kasauti.train.recipe import FIELDS

    text = KUBERNETES["ConfigMap", "task"]["data"]["task.yaml"]
    (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
    assert load_task(tmp_path, FIELDS).fallback == "other"


def test_every_file_of_the_manifests_is_applied():
    listed = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text("utf-8"))["resources"]
    assert sorted(listed) == sorted(
        path.name for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml"
    )


def test_every_query_is_one_that_prometheus_reads(tmp_path):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    plain = [re.sub(r"\$__\w+", "5m", query) for query in QUERIES]
    rules = [{"record": f"query:{at}", "expr": query} for at, query in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("promtool", ["check", "rules", str(DEPLOY / "alerts.yml")]),
        ("hadolint", [str(DEPLOY / "Dockerfile")]),
        ("kubernetes-validate", ["--strict", *map(str, sorted((DEPLOY / "kubernetes").glob("[!k]*.yaml")))]),
    ],
)
def test_the_makers_own_validators_find_nothing(tool, given):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
