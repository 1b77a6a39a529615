"""How the objects fit together: the network, watching, the test, the schema. Each check takes a helm."""

import json
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import yaml

from chart import CHART, HERE, Helm, config, of_kind, pods
from network import OUTSIDE, Network

VALUES = HERE / "values"


def check_who_may_call_whom(helm: Helm) -> None:
    """The policies let through what the parts need of each other, and nothing more."""
    network = Network(helm.render())
    parts = ["coordinator", "policy-worker", "skill-runner", "expert", "adopting-expert", "etcd", "test"]
    services = parts[:5]
    grpc = {("coordinator", one) for one in services}
    grpc |= {(one, "coordinator") for one in services}
    grpc |= {("skill-runner", one) for one in ("expert", "adopting-expert")}
    grpc |= {("test", one) for one in services}
    grpc.add((OUTSIDE, "coordinator"))
    to_itself = {("skill-runner", "skill-runner")}
    for caller in [*parts, OUTSIDE]:
        for callee in services:
            allowed = network.may_call(caller, callee, 7070)
            assert allowed == ((caller, callee) in grpc - to_itself), (caller, callee)
        for callee, port in [(one, 9090) for one in services] + [("etcd", 2381)]:
            assert network.may_call(OUTSIDE, callee, port), (callee, port)
        assert network.may_call(caller, "etcd", 2379) == (caller in [*services, "etcd"]), caller
        assert network.may_call(caller, "etcd", 2380) == (caller == "etcd"), caller
        if caller != OUTSIDE:
            assert network.may_call(caller, OUTSIDE, 443) == (caller == "adopting-expert"), caller
            assert network.may_call(caller, OUTSIDE, 53), caller
    narrowed = Network(helm.render(VALUES / "blobs-s3.yaml"))
    assert narrowed.may_call("coordinator", OUTSIDE, 443)
    assert not narrowed.may_call("policy-worker", OUTSIDE, 443)
    several = Network(helm.render(VALUES / "experts.yaml"))
    assert several.may_call("expert/qwen", OUTSIDE, 443)
    assert not several.may_call("expert/pp-ocr", OUTSIDE, 443)
    external = Network(helm.render(VALUES / "etcd-external-plain.yaml"))
    assert external.may_call("policy-worker", OUTSIDE, 12379)
    assert not external.may_call("policy-worker", OUTSIDE, 2379)


def check_ports_of_addresses(helm: Helm) -> None:
    """A policy opens the port that an address names, or else that of its scheme."""

    def opened(values: dict, caller: str) -> set[int]:
        network = Network(helm.render(values))
        return {port for port in (80, 443, 1234, 2379, 4317, 9000) if network.may_call(caller, OUTSIDE, port)}

    for address, called, port in (
        ("http://collector:1234", "http://collector:1234", 1234),
        ("http://collector", "http://collector:4317", 4317),
        ("http://collector/v9000", "http://collector:4317/v9000", 4317),
        ("http://collector:9000/v1/1234", "http://collector:9000/v1/1234", 9000),
        ("http://[2001:db8::9000]", "http://[2001:db8::9000]:4317", 4317),
        ("http://[2001:db8::1]:1234", "http://[2001:db8::1]:1234", 1234),
        ("http://node9000", "http://node9000:4317", 4317),
    ):
        otlp = {"otlp": {"endpoint": address}}
        assert opened(otlp, "policy-worker") == {port}, address
        assert config(helm.render(otlp), "m-maestro-policy-worker")["otlp"]["endpoint"] == called
    for address, port in (("", 443), ("https://s3", 443), ("http://s3", 80), ("https://s3:9000/b1234", 9000)):
        blobs = {"type": "s3", "s3": {"bucket": "b", "endpoint": address}}
        assert opened({"blobs": blobs}, "coordinator") == {port}, address
    for address, port in (
        ("http://node1234", 80),
        ("http://etcd:2379", 2379),
        ("http://[2001:db8::1234]", 80),
    ):
        etcd = {"enabled": False, "external": {"endpoints": [address]}}
        assert opened({"etcd": etcd}, "policy-worker") == {port}, address


def check_dashboards_and_alerts_come_from_files(helm: Helm) -> None:
    """Every file of the folders arrives with whatever braces stand in it; alerts are about the release's
    namespace."""
    on = {"metrics": {"dashboards": {"enabled": True}, "prometheusRule": {"enabled": True}}}
    rule = {"alert": "A", "expr": "up == 0", "annotations": {"summary": "{{ $labels.pod }} is down"}}
    board = {"title": "One", "panels": [{"legendFormat": "{{pod}}"}]}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "maestro"
        shutil.copytree(CHART, copy)
        for name in ("first", "second"):
            group = {"groups": [{"name": name, "rules": [rule]}]}
            (copy / "files/alerts").mkdir(parents=True, exist_ok=True)
            (copy / "files/dashboards").mkdir(parents=True, exist_ok=True)
            (copy / f"files/alerts/zz-{name}.yaml").write_text(yaml.safe_dump(group))
            (copy / f"files/dashboards/zz-{name}.json").write_text(json.dumps(board, indent=2))
        manifests = helm.render(on, chart=copy)
        boards = len(list((copy / "files/dashboards").glob("*.json")))
        sources = sorted((copy / "files/alerts").glob("*.yaml"))
        texts = [path.read_text().replace('namespace=~".+"', 'namespace="answers"') for path in sources]
        groups = [one for text in texts for one in yaml.safe_load(text)["groups"]]
    (rules,) = of_kind(manifests, "PrometheusRule").values()
    assert rules["spec"]["groups"] == groups
    found = {
        key: json.loads(text)
        for one in of_kind(manifests, "ConfigMap").values()
        if "grafana_dashboard" in one["metadata"]["labels"]
        for key, text in one["data"].items()
    }
    assert len(found) == boards
    assert found["zz-first.json"] == board


def check_alerts_are_about_the_release(helm: Helm) -> None:
    """Other namespaces' jobs of the same name do not fire them (promtool, if there is one)."""
    manifests = helm.render({"metrics": {"prometheusRule": {"enabled": True}}})
    (rules,) = of_kind(manifests, "PrometheusRule").values()
    text = yaml.safe_dump(rules["spec"], width=1000)
    assert ".+" not in text
    if not shutil.which("promtool"):
        print("alerts: NOT evaluated as rendered (no promtool)")
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yaml").write_text(text)
        shutil.copy(HERE / "alerts-bound.yaml", folder)
        command = ["promtool", "test", "rules", "alerts-bound.yaml"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def check_runbook_links(helm: Helm) -> None:
    """Every alert links to its runbook, below the address that the values give."""
    (rules,) = of_kind(helm.render(VALUES / "monitoring-services.yaml"), "PrometheusRule").values()
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert alerts
    for alert in alerts:
        link = f"https://docs.example/runbooks/{alert['alert']}.md"
        assert alert["annotations"]["runbook_url"] == link, alert["alert"]


def check_monitors(helm: Helm) -> None:
    """A monitor finds the metrics of every pod, and names the job by the part."""
    (one,) = of_kind(helm.render(VALUES / "monitoring-services.yaml"), "ServiceMonitor").values()
    assert one["spec"]["jobLabel"] == "app.kubernetes.io/component"
    assert one["spec"]["endpoints"][0]["port"] == "metrics"
    assert one["metadata"]["labels"]["release"] == "prometheus"
    manifests = helm.render(VALUES / "monitoring-pods.yaml")
    (two,) = of_kind(manifests, "PodMonitor").values()
    assert two["spec"]["podMetricsEndpoints"][0]["interval"] == "30s"
    selector = two["spec"]["selector"]["matchLabels"]
    for name, pod in pods(manifests).items():
        assert selector.items() <= pod["metadata"]["labels"].items(), name


def check_the_test_asks_every_service(helm: Helm) -> None:
    """`helm test` is one pod with one question a service, at that service's own address."""
    manifests = helm.render(VALUES / "experts.yaml")
    (pod,) = of_kind(manifests, "Pod").values()
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    asked = set()
    for one in pod["spec"]["containers"]:
        assert one["args"][0] == "health"
        assert "maestro-coordinator" in one["image"]
        target = re.fullmatch(r"--target=http://(\S+)\.answers\.svc\.cluster\.local:7070", one["args"][1])
        asked.add(target.group(1))
    # A Service without pods could only fail it.
    idle = {"m-maestro-adopting-expert"}
    assert asked == set(of_kind(manifests, "Deployment")) - idle
    everyone = {
        key: {"replicas": 0}
        for key in ("coordinator", "policyWorker", "skillRunner", "expertDefaults", "adoptingExperts")
    }
    assert not of_kind(helm.render(everyone), "Pod")
    scaled = {**everyone, "policyWorker": {"replicas": 0, "autoscaling": {"enabled": True}}}
    (pod,) = of_kind(helm.render(scaled), "Pod").values()
    assert [one["name"] for one in pod["spec"]["containers"]] == ["policy-worker"]


def check_one_version(helm: Helm) -> None:
    """The chart installs the images that the workspace and the Dockerfile are of."""
    del helm
    root = CHART.parents[1]
    version = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version
    declared = re.findall(r"^ARG VERSION=(\S+)$", (root / "images/Dockerfile").read_text(), re.MULTILINE)
    assert declared and set(declared) == {version}, declared


def check_the_schema_is_closed(helm: Helm) -> None:
    """Every object in it names its keys; the few that cannot are objects of somebody else."""
    del helm
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = []

    def walk(node: object, path: str) -> None:
        if isinstance(node, list):
            for index, item in enumerate(node):
                walk(item, f"{path}/{index}")
        if not isinstance(node, dict):
            return
        if "properties" in node or node.get("type") == "object":
            if "properties" in node:
                assert node.get("additionalProperties") is False, path
            elif "additionalProperties" not in node:
                free.append(path)
        for key, item in node.items():
            walk(item, f"{path}/{key}")

    walk(schema, "")
    assert sorted(free) == [
        "/definitions/descriptor/properties/backend/properties/config",
        "/definitions/kubernetes",
        "/properties/global",
    ]


def check_every_setting_stands_in_values(helm: Helm) -> None:
    """`values.yaml` shows each key that the schema admits, and the schema knows no other."""
    del helm
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    for name in ("coordinator", "policyWorker", "skillRunner", "expertDefaults", "etcd", "blobs"):
        assert set(schema["definitions"][name]["properties"]) == set(values[name]), name
    shared = set(values["expertDefaults"]) - {"serviceAccount"}
    assert set(schema["definitions"]["expert"]["properties"]) == shared | {"descriptor"}
    assert set(schema["definitions"]["adoptingExperts"]["properties"]) == shared | {"adopt"}
