"""What must hold for every set of values, on old and new clusters. Each check takes a Rendered."""

import math
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import yaml

from chart import Manifest, UniqueKeys, by_identity, of_kind, pods, workloads

CLOSE_SECONDS = 2  # what the programs take to close connections after a drain
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Rendered:
    """The chart with some values, on a cluster of some version."""

    manifests: list[Manifest]
    kube: tuple[int, int]


def containers(pod: Manifest) -> list[Manifest]:
    """Every container of a pod."""
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def selects(selector: dict | None, labels: dict) -> bool:
    """Whether a label selector fits."""
    selector = selector or {}
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def check_pods_are_restricted(rendered: Rendered) -> None:
    """Every pod keeps to the `restricted` standard, and its root is read-only."""
    for name, pod in pods(rendered.manifests).items():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            assert not pod["spec"].get(key), (name, key)
        for container in containers(pod):
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert not own.get("privileged"), name


def check_no_pod_gets_a_token(rendered: Rendered) -> None:
    """Neither pods nor their accounts mount a token of the API, and there are no roles."""
    for name, pod in pods(rendered.manifests).items():
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert "serviceAccountName" in pod["spec"], name
    for name, account in of_kind(rendered.manifests, "ServiceAccount").items():
        assert account["automountServiceAccountToken"] is False, name
    kinds = {manifest["kind"] for manifest in rendered.manifests}
    assert not kinds & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}


def check_resources_are_bounded(rendered: Rendered) -> None:
    """Every container asks for CPU and memory and has a limit of memory."""
    for name, pod in pods(rendered.manifests).items():
        for container in containers(pod):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            # The schema of an older Kubernetes, which helm 4 applies by, knows no number here.
            for amounts in container["resources"].values():
                assert all(isinstance(amount, str) for amount in amounts.values()), (name, amounts)
        for volume in pod["spec"].get("volumes", []):
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], (name, volume["name"])


def check_references_resolve(rendered: Rendered) -> None:
    """Mounts name volumes, volumes name ConfigMaps and claims of the release or of the values."""
    maps = of_kind(rendered.manifests, "ConfigMap")
    for name, pod in pods(rendered.manifests).items():
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        workload = of_kind(rendered.manifests, "StatefulSet").get(name, {}).get("spec", {})
        volumes |= {claim["metadata"]["name"] for claim in workload.get("volumeClaimTemplates", [])}
        mounted = {mount["name"] for one in containers(pod) for mount in one.get("volumeMounts", [])}
        assert mounted == volumes, (name, mounted ^ volumes)
        for volume in pod["spec"].get("volumes", []):
            if volume["name"] == "config":
                assert volume["configMap"]["name"] in maps, name
        for container in containers(pod):
            environment = [one["name"] for one in container.get("env", [])]
            assert len(environment) == len(set(environment)), (name, "a variable twice")


def check_names_and_labels_are_valid(rendered: Rendered) -> None:
    """Names fit where Kubernetes puts them, and objects carry the recommended labels."""
    by_identity(rendered.manifests)
    for manifest in rendered.manifests:
        metadata = manifest["metadata"]
        assert LABEL.fullmatch(metadata["name"]), metadata["name"]
        assert metadata["namespace"] == "answers", metadata["name"]
        for key in ("name", "instance", "version", "managed-by"):
            assert f"app.kubernetes.io/{key}" in metadata["labels"], metadata["name"]
        for key, value in metadata["labels"].items():
            assert isinstance(value, str), (metadata["name"], key, value)
            assert len(value) <= 63, metadata["name"]


def check_selectors_are_apart(rendered: Rendered) -> None:
    """Each Service and budget is about one workload, and no two workloads claim one pod."""
    templates = {name: pod["metadata"]["labels"] for name, pod in workloads(rendered.manifests).items()}
    for kind in ("Deployment", "StatefulSet", "Service", "PodDisruptionBudget"):
        for name, manifest in of_kind(rendered.manifests, kind).items():
            selector = manifest["spec"]["selector"]
            if kind == "Service":
                selector = {"matchLabels": selector}
            found = [pod for pod, labels in templates.items() if selects(selector, labels)]
            assert len(found) == 1, (kind, name, found)
            assert name in (found[0], f"{found[0]}-headless", f"{found[0]}-metrics"), (kind, name, found)


def check_service_ports(rendered: Rendered) -> None:
    """Ports state their protocol and lead to a port of the pods; each pod is scraped by one Service."""
    scraped: dict[str, list[str]] = {}
    templates = workloads(rendered.manifests)
    for name, service in of_kind(rendered.manifests, "Service").items():
        selector = {"matchLabels": service["spec"]["selector"]}
        (pod,) = [one for one in templates.values() if selects(selector, one["metadata"]["labels"])]
        ports = {port["name"]: port for one in containers(pod) for port in one["ports"]}
        for port in service["spec"]["ports"]:
            assert port["protocol"] == "TCP", name
            assert port["targetPort"] in ports, name
            if service["spec"].get("clusterIP") == "None":
                # No translation happens there, so the two must agree.
                assert port["port"] == ports[port["targetPort"]]["containerPort"], name
        if any(port["name"] == "metrics" for port in service["spec"]["ports"]):
            scraped.setdefault(str(selector), []).append(name)
    assert len(scraped) == len(templates)
    assert all(len(names) == 1 for names in scraped.values()), scraped


def settings(rendered: Rendered) -> dict[str, dict]:
    """The programs' settings by the name of their workload."""
    maps = of_kind(rendered.manifests, "ConfigMap").items()
    return {
        name: yaml.load(one["data"]["config.yaml"], Loader=UniqueKeys)
        for name, one in maps
        if "config.yaml" in one["data"]
    }


def check_addresses_lead_somewhere(rendered: Rendered) -> None:
    """Every address inside the cluster in the settings is a Service's, with a port that it has."""
    services = of_kind(rendered.manifests, "Service")
    internal = re.compile(r"http://\S+\.answers\.svc\.\S+")
    seen = 0
    for name, config in settings(rendered).items():
        for address in internal.findall(yaml.safe_dump(config, width=1000)):
            parts = urlsplit(address)
            host = parts.hostname.split(".answers.svc.")[0]
            member, _, headless = host.rpartition(".")
            service = services[headless]
            assert parts.port in {port["port"] for port in service["spec"]["ports"]}, (name, address)
            if member:
                stateful = of_kind(rendered.manifests, "StatefulSet")[member.rpartition("-")[0]]
                assert int(member.rpartition("-")[2]) < stateful["spec"]["replicas"], (name, address)
            seen += 1
    assert seen >= 4


def check_settings_are_whole(rendered: Rendered) -> None:
    """Only known keys stand in the settings, and no number is written as a power of ten."""
    for name, config in settings(rendered).items():
        assert set(config) <= {"service", "etcd", "blobs", "metrics", "log", "otlp"}, name
        assert {"service", "etcd", "blobs", "metrics", "log"} <= set(config), name
        assert config["etcd"]["endpoints"], name
        text = of_kind(rendered.manifests, "ConfigMap")[name]["data"]["config.yaml"]
        assert not re.search(r"\de\+\d", text), name


def check_termination_fits_the_drain(rendered: Rendered) -> None:
    """The grace period covers the pause and the drain, and no liveness probe cuts either off."""
    configs = settings(rendered)
    for name, deployment in of_kind(rendered.manifests, "Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        drain = configs[name]["service"]["serve"]["drain_grace_ms"] / 1000
        hook = container.get("lifecycle", {}).get("preStop", {})
        if "sleep" in hook:
            assert rendered.kube >= (1, 30), name
            pause = hook["sleep"]["seconds"]
        elif "exec" in hook:
            assert rendered.kube < (1, 30), name
            *command, milliseconds = hook["exec"]["command"]
            assert command == [program(deployment), "pause", "--ms"], name
            pause = int(milliseconds) / 1000
        else:
            pause = 0
        grace = spec["terminationGracePeriodSeconds"]
        assert grace >= pause + drain + CLOSE_SECONDS, name
        liveness = container["livenessProbe"]
        assert liveness["periodSeconds"] * liveness["failureThreshold"] > grace, name


def program(workload: Manifest) -> str:
    """The program that a workload runs."""
    component = workload["metadata"]["labels"]["app.kubernetes.io/component"]
    return "maestro-expert-worker" if component.endswith("expert") else f"maestro-{component}"


def check_probes_ask_for_health(rendered: Rendered) -> None:
    """The kubelet asks by gRPC where it can, else the program does; a start has time to warm up."""
    configs = settings(rendered)
    for name, deployment in of_kind(rendered.manifests, "Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container[kind]
            if rendered.kube >= (1, 24):
                assert probe["grpc"] == {"port": 7070}, name
            else:
                command = probe["exec"]["command"]
                assert command[:2] == [program(deployment), "health"], name
                assert int(command[-1]) / 1000 < probe["timeoutSeconds"], name
        startup = container["startupProbe"]
        patience = startup["periodSeconds"] * startup["failureThreshold"]
        warm_up = configs[name]["service"].get("warm_up_timeout_ms", 0) / 1000
        assert deployment["spec"]["progressDeadlineSeconds"] > warm_up, name
        if name.endswith("expert-qwen"):
            # This set of values gives a threshold of its own.
            assert startup["failureThreshold"] == 7
        else:
            assert patience >= max(warm_up, 60), name
            assert patience < max(warm_up, 120) + startup["periodSeconds"] + 60, name


def check_versions_of_the_api(rendered: Rendered) -> None:
    """Budgets and autoscalers use what the cluster serves."""
    budget = "policy/v1" if rendered.kube >= (1, 21) else "policy/v1beta1"
    scaler = "autoscaling/v2" if rendered.kube >= (1, 23) else "autoscaling/v2beta2"
    for one in of_kind(rendered.manifests, "PodDisruptionBudget").values():
        assert one["apiVersion"] == budget
    for one in of_kind(rendered.manifests, "HorizontalPodAutoscaler").values():
        assert one["apiVersion"] == scaler


def check_scaled_workloads_state_no_replicas(rendered: Rendered) -> None:
    """An upgrade does not undo what an autoscaler did; all others state their number."""
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for one in of_kind(rendered.manifests, kind).values()
    }
    deployments = of_kind(rendered.manifests, "Deployment")
    assert scaled <= set(deployments)
    for name, deployment in deployments.items():
        assert ("replicas" in deployment["spec"]) == (name not in scaled), name


def check_pods_spread_by_their_own_labels(rendered: Rendered) -> None:
    """What spreads pods counts pods of the same workload."""
    for name, pod in pods(rendered.manifests).items():
        for constraint in pod["spec"].get("topologySpreadConstraints", []):
            assert selects(constraint["labelSelector"], pod["metadata"]["labels"]), name
            revision = constraint.get("matchLabelKeys") == ["pod-template-hash"]
            assert not revision or rendered.kube >= (1, 27), name


def check_etcd_forms_a_quorum(rendered: Rendered) -> None:
    """Members start together, know each other's names, and go one at a time."""
    for name, etcd in of_kind(rendered.manifests, "StatefulSet").items():
        spec = etcd["spec"]
        assert spec["podManagementPolicy"] == "Parallel"
        service = of_kind(rendered.manifests, "Service")[spec["serviceName"]]
        assert service["spec"]["publishNotReadyAddresses"] is True
        assert service["spec"]["clusterIP"] == "None"
        (container,) = spec["template"]["spec"]["containers"]
        flags = dict(one.split("=", 1) for one in container["args"])
        members = dict(one.split("=", 1) for one in flags["--initial-cluster"].split(","))
        assert list(members) == [f"{name}-{index}" for index in range(spec["replicas"])]
        own = flags["--initial-advertise-peer-urls"]
        assert all(own.replace("$(POD_NAME)", member) == url for member, url in members.items())
        budget = of_kind(rendered.manifests, "PodDisruptionBudget")[name]
        assert budget["spec"]["maxUnavailable"] <= math.ceil(spec["replicas"] / 2)
        image = container["image"]
        version = re.search(r":v(\d+)\.(\d+)\.(\d+)$", image)
        assert "@sha256:" in image or tuple(map(int, version.groups())) >= (3, 5, 3), image
