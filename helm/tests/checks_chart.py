"""What single settings do. Each check takes a helm and renders what it needs."""

import shutil
import tempfile
from pathlib import Path

import yaml

from chart import CHART, HERE, Helm, by_identity, config, digest, of_kind, pods

VALUES = HERE / "values"
ADDED = {
    "experts": {
        "added": {
            "descriptor": {
                "description": "Reads text.",
                "capabilities": ["ocr"],
                "modalities": ["image"],
                "backend": {"kind": "tesseract"},
            }
        }
    }
}


def deployments(helm: Helm, *values, **options) -> dict[str, dict]:
    """The Deployments by what follows the release's name."""
    rendered = of_kind(helm.render(*values, **options), "Deployment")
    return {name.removeprefix("m-maestro-"): one for name, one in rendered.items()}


def container(deployment: dict) -> dict:
    """The only container of a workload."""
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


def changed(before: list[dict], after: list[dict]) -> set[str]:
    """The objects that an upgrade changes, hooks aside, as Kind/name."""
    old, new = by_identity(before), by_identity(after)
    return {
        f"{kind}/{name}"
        for kind, name in old.keys() | new.keys()
        if "helm.sh/hook" not in (new.get((kind, name)) or old[kind, name])["metadata"].get("annotations", {})
        and digest(old.get((kind, name))) != digest(new.get((kind, name)))
    }


def restarted(before: list[dict], after: list[dict]) -> set[str]:
    """The workloads of `before` whose pods an upgrade replaces."""
    old, new = pods(before), pods(after)
    kept = old.keys() & new.keys() - {"m-maestro-test"}
    return {name.removeprefix("m-maestro-") for name in kept if digest(old[name]) != digest(new[name])}


def checksums(manifests: list[dict]) -> dict[str, str]:
    """The digests of the settings that stand on the pods."""
    return {
        name.removeprefix("m-maestro-"): pod["metadata"]["annotations"]["checksum/config"]
        for name, pod in pods(manifests).items()
        if "checksum/config" in pod["metadata"].get("annotations", {})
    }


def check_adding_an_expert_touches_nothing_else(helm: Helm) -> None:
    """One Deployment, Service, ConfigMap and budget more, and not a byte elsewhere."""
    for values in ([], [CHART / "values-ha.yaml"], [VALUES / "monitoring-pods.yaml"]):
        before, after = helm.render(*values), helm.render(*values, ADDED)
        name = "m-maestro-expert-added"
        kinds = ("Deployment", "Service", "ConfigMap", "PodDisruptionBudget")
        assert changed(before, after) == {f"{kind}/{name}" for kind in kinds}
        assert restarted(before, after) == set()


def check_a_descriptor_restarts_its_own_pods_only(helm: Helm) -> None:
    """So do an expert's other settings."""
    for change in ({"descriptor": {"description": "Other."}}, {"config": {"max_waiting": 3}}):
        before = helm.render(VALUES / "experts.yaml")
        after = helm.render(VALUES / "experts.yaml", {"experts": {"pp-ocr": change}})
        assert restarted(before, after) == {"expert-pp-ocr"}


def check_settings_restart_whom_they_concern(helm: Helm) -> None:
    """The checksum follows the settings, and nothing else moves it."""
    experts = {"expert-image-analysis", "adopting-expert"}
    everyone = {"coordinator", "policy-worker", "skill-runner"} | experts
    cases = [
        ({"log": {"filter": "debug"}}, everyone),
        ({"etcd": {"prefix": "/other"}}, everyone),
        ({"coordinator": {"config": {"episodes": {"max_running": 5}}}}, {"coordinator"}),
        ({"policyWorker": {"config": {"sampling": {"temperature": 0.5}}}}, {"policy-worker"}),
        ({"skillRunner": {"config": {"runner": {"max_concurrent_runs": 5}}}}, {"skill-runner"}),
        ({"adoptingExperts": {"adopt": ["openai", "replay"]}}, {"adopting-expert"}),
        ({"expertDefaults": {"config": {"max_waiting": 5}}}, experts),
        ({"policyWorker": {"replicas": 5}}, set()),
        ({"networkPolicy": {"enabled": False}}, set()),
        ({"commonLabels": {"team": "search"}}, set()),
        ({"metrics": {"podMonitor": {"enabled": True}}}, set()),
    ]
    before = helm.render()
    for values, expected in cases:
        after = helm.render(values)
        assert restarted(before, after) == expected, values
        old, new = checksums(before), checksums(after)
        assert {name for name in new if new[name] != old[name]} == expected, values


def check_a_new_version_of_the_chart_alone_restarts_nothing(helm: Helm) -> None:
    """The chart's version stands in the labels of objects and not in those of pods."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "maestro"
        shutil.copytree(CHART, copy)
        chart = yaml.safe_load((copy / "Chart.yaml").read_text())
        (copy / "Chart.yaml").write_text(yaml.safe_dump(chart | {"version": "9.9.9"}))
        before, after = helm.render(), helm.render(chart=copy)
    assert "Deployment/m-maestro-coordinator" in changed(before, after)
    assert restarted(before, after) == set()


def check_experts_are_described_to_their_workers(helm: Helm) -> None:
    """The entry's descriptor is the worker's whole catalogue, under the entry's name or its own."""
    manifests = helm.render(VALUES / "experts.yaml")
    service = config(manifests, "m-maestro-expert-pp-ocr")["service"]
    (expert,) = service["experts"]
    assert expert["name"] == "pp-ocr"
    assert expert["backend"] == {
        "kind": "ocr",
        "config": {"detection": "/models/det.onnx", "recognition": "/models/rec.onnx"},
    }
    assert expert["limits"] == {"max_images": 8, "max_concurrency": 2, "timeout_ms": 60000}
    assert service["replace"] is True
    assert service["warm_up_timeout_ms"] == 900_000
    assert service["max_waiting"] == 4
    assert "adopt" not in service
    (named,) = config(manifests, "m-maestro-expert-qwen")["service"]["experts"]
    assert named["name"] == "qwen2.5-vl"
    adopting = config(manifests, "m-maestro-adopting-expert")["service"]
    assert adopting["adopt"] == ["openai"]
    assert "experts" not in adopting


def check_entries_override_the_defaults(helm: Helm) -> None:
    """Also by what counts as empty: false, zero."""
    manifests = helm.render(VALUES / "experts.yaml")
    workloads = of_kind(manifests, "Deployment")
    assert "m-maestro-expert-image-analysis" not in workloads
    assert workloads["m-maestro-adopting-expert"]["spec"]["replicas"] == 0
    assert workloads["m-maestro-expert-pp-ocr"]["spec"]["replicas"] == 2
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert "m-maestro-expert-qwen" not in budgets
    assert "m-maestro-expert-pp-ocr" in budgets
    assert not [name for name in deployments(helm, VALUES / "no-experts.yaml") if "expert" in name]


def check_experts_advertise_their_pods(helm: Helm) -> None:
    """Each replica registers an address of its own, and only experts do."""
    for family, address in (("IPv4", "http://$(POD_IP):7070"), ("IPv6", "http://[$(POD_IP)]:7070")):
        for name, deployment in deployments(helm, {"ipFamily": family}).items():
            env = {one["name"]: one for one in container(deployment)["env"]}
            assert ("MAESTRO_ADVERTISE" in env) == ("expert" in name), name
            if "expert" in name:
                assert env["MAESTRO_ADVERTISE"]["value"] == address
                assert env["POD_IP"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
                # Only variables that stand before it are put in.
                assert list(env).index("POD_IP") < list(env).index("MAESTRO_ADVERTISE")
    listen = config(helm.render({"ipFamily": "IPv6"}), "m-maestro-coordinator")
    assert listen["service"]["serve"]["listen"] == "[::]:7070"
    assert listen["metrics"] == "[::]:9090"


def check_large_numbers_stay_whole(helm: Helm) -> None:
    """Helm reads every number as a float, which it would print as a power of ten."""
    text = helm.text({"etcd": {"leaseTtlSeconds": 3_000_000, "quotaBytes": 8_589_934_592}})
    assert "lease_ttl_s: 3000000\n" in text
    assert "--quota-backend-bytes=8589934592\n" in text


def check_the_skill_library_is_registered(helm: Helm) -> None:
    """A fresh installation has skills, unless it is told not to."""
    name = "m-maestro-skill-runner"
    assert config(helm.render(), name)["service"]["library"] == "register"
    none = helm.render({"skillRunner": {"config": {"library": "none"}}})
    assert config(none, name)["service"]["library"] == "none"


def check_gpus(helm: Helm) -> None:
    """A GPU is a limit, the driver's capabilities, a way past the taint, and the program's device."""
    manifests = helm.render(VALUES / "gpu.yaml")
    workloads = {k.removeprefix("m-maestro-"): v for k, v in of_kind(manifests, "Deployment").items()}
    policy = workloads["policy-worker"]
    spec = policy["spec"]["template"]["spec"]
    env = {one["name"]: one.get("value") for one in container(policy)["env"]}
    assert container(policy)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "memory" in container(policy)["resources"]["limits"]
    assert env["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility,graphics"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert len(spec["tolerations"]) == 2
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert spec["runtimeClassName"] == "nvidia"
    assert policy["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert config(manifests, "m-maestro-policy-worker")["service"]["device"] == "vulkan"
    expert = workloads["expert-minilm"]
    assert container(expert)["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "tolerations" not in expert["spec"]["template"]["spec"]
    for name in ("coordinator", "skill-runner", "expert-image-analysis"):
        assert "nvidia.com/gpu" not in container(workloads[name])["resources"]["limits"], name


def check_coordinators_call_pools_by_pod(helm: Helm) -> None:
    """One name for each pool, which stands for every ready pod of it."""
    manifests = helm.render()
    service = config(manifests, "m-maestro-coordinator")["service"]
    for key, pool in (("policy_workers", "policy-worker"), ("skill_runners", "skill-runner")):
        assert service[key] == [f"http://m-maestro-{pool}-headless.answers.svc.cluster.local:7070"]
        headless = of_kind(manifests, "Service")[f"m-maestro-{pool}-headless"]["spec"]
        assert headless["clusterIP"] == "None"
        assert not headless.get("publishNotReadyAddresses")


def check_blobs(helm: Helm) -> None:
    """Coordinators open the store, everyone else asks them; keys come from a Secret."""
    manifests = helm.render(VALUES / "blobs-minio.yaml")
    assert config(manifests, "m-maestro-coordinator")["blobs"]["store"]["url"] == "s3://maestro"
    assert "remote" in config(manifests, "m-maestro-skill-runner")["blobs"]
    env = {
        name: {one["name"]: one for one in container(deployment)["env"]}
        for name, deployment in of_kind(manifests, "Deployment").items()
    }
    own = env["m-maestro-coordinator"]
    assert own["AWS_ENDPOINT"]["value"] == "http://minio.storage.svc:9000"
    assert own["AWS_ALLOW_HTTP"]["value"] == "true"
    reference = own["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "minio-keys", "key": "secret-access-key"}
    assert not [name for name in env["m-maestro-skill-runner"] if name.startswith("AWS")]
    assert not of_kind(manifests, "PersistentVolumeClaim")
    manifests = helm.render(VALUES / "blobs-s3.yaml")
    assert config(manifests, "m-maestro-coordinator")["blobs"]["store"]["url"] == "s3://maestro-blobs/prod"
    account = of_kind(manifests, "ServiceAccount")["m-maestro-coordinator"]
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]


def check_trajectories(helm: Helm) -> None:
    """They stand beside the blobs unless told otherwise; what the chart decides stands over the rest."""
    kept = {"url": "file:///data", "ephemeral": False, "retention_days": 90}
    manifests = helm.render()
    assert config(manifests, "m-maestro-coordinator")["service"]["trajectories"] == kept
    assert "trajectories" not in config(manifests, "m-maestro-policy-worker")["service"]
    manifests = helm.render(VALUES / "blobs-s3.yaml")
    kept = config(manifests, "m-maestro-coordinator")["service"]["trajectories"]
    assert kept["url"] == "s3://maestro-blobs/prod"
    own = {"url": "gs://lake/maestro", "ephemeral": True, "retentionDays": 0}
    more = {"config": {"trajectories": {"batching": {"max_rows": 10}}}}
    manifests = helm.render({"trajectories": own, "coordinator": more})
    kept = {"url": "gs://lake/maestro", "ephemeral": True, "retention_days": 0, "batching": {"max_rows": 10}}
    assert config(manifests, "m-maestro-coordinator")["service"]["trajectories"] == kept
    manifests = helm.render({"trajectories": {"enabled": False}})
    assert "trajectories" not in config(manifests, "m-maestro-coordinator")["service"]


def check_the_volume_decides_how_coordinators_are_replaced(helm: Helm) -> None:
    """One that a single node mounts is let go before the new pod asks for it."""
    assert deployments(helm)["coordinator"]["spec"]["strategy"] == {"type": "Recreate"}
    for values in ("blobs-shared-volume", "blobs-s3"):
        strategy = deployments(helm, VALUES / f"{values}.yaml")["coordinator"]["spec"]["strategy"]
        assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}, values
    manifests = helm.render()
    claim = of_kind(manifests, "PersistentVolumeClaim")["m-maestro-blobs"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    manifests = helm.render(VALUES / "blobs-shared-volume.yaml")
    assert not of_kind(manifests, "PersistentVolumeClaim")
    volumes = pods(manifests)["m-maestro-coordinator"]["spec"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "team-nfs"}} in volumes


def check_external_etcd(helm: Helm) -> None:
    """Its certificates are mounted and named, its user comes from a Secret, and none of ours runs."""
    manifests = helm.render(VALUES / "etcd-external-tls.yaml")
    assert not of_kind(manifests, "StatefulSet")
    for name, deployment in of_kind(manifests, "Deployment").items():
        etcd = config(manifests, name)["etcd"]
        assert len(etcd["endpoints"]) == 3
        assert etcd["prefix"] == "/team-a/maestro"
        assert etcd["tls"] == {
            "ca_file": "/etc/maestro/etcd-tls/ca.crt",
            "cert_file": "/etc/maestro/etcd-tls/tls.crt",
            "key_file": "/etc/maestro/etcd-tls/tls.key",
            "server_name": "etcd.example",
        }
        env = {one["name"]: one for one in container(deployment)["env"]}
        password = env["MAESTRO_ETCD_PASSWORD"]["valueFrom"]["secretKeyRef"]
        assert password == {"name": "etcd-user", "key": "password"}
        assert "password" not in yaml.safe_dump(etcd)
    plain = helm.render(VALUES / "etcd-external-plain.yaml")
    assert "tls" not in config(plain, "m-maestro-coordinator")["etcd"]


def check_images(helm: Helm) -> None:
    """A digest wins over a tag, a workload's settings over the shared ones."""
    given = deployments(helm, VALUES / "placement.yaml")
    images = {name: container(one)["image"] for name, one in given.items()}
    assert images["coordinator"] == f"other.example/coordinator@sha256:{'fedcba9876543210' * 4}"
    assert images["policy-worker"] == "registry.example/mirror/maestro-policy-worker:1.2.3"
    plain = {name: container(one)["image"] for name, one in deployments(helm).items()}
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert plain["coordinator"] == f"localhost/maestro-coordinator:{version}"
    bare = deployments(helm, {"image": {"registry": ""}})["coordinator"]
    assert container(bare)["image"] == f"maestro-coordinator:{version}"


def check_placement(helm: Helm) -> None:
    """What an administrator prescribes arrives, and joins what the chart decides."""
    manifests = helm.render(VALUES / "placement.yaml")
    workloads = of_kind(manifests, "Deployment")
    coordinator = workloads["m-maestro-coordinator"]["spec"]["template"]
    assert coordinator["metadata"]["labels"]["cost-centre"] == "42"
    assert coordinator["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    spec = coordinator["spec"]
    assert spec["priorityClassName"] == "high"
    assert spec["serviceAccountName"] == "existing"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert [one["topologyKey"] for one in spec["topologySpreadConstraints"]] == ["rack"]
    assert "m-maestro-coordinator" not in of_kind(manifests, "ServiceAccount")
    assert "policy" in of_kind(manifests, "ServiceAccount")
    service = config(manifests, "m-maestro-coordinator")["service"]
    assert service["serve"]["max_concurrent_streams"] == 64
    assert service["serve"]["listen"] == "0.0.0.0:7070"
    assert service["images"]["max_pixels"] == 100_000_000
    (port,) = of_kind(manifests, "Service")["m-maestro-coordinator"]["spec"]["ports"]
    assert (port["port"], port["targetPort"], port["appProtocol"]) == (443, "grpc", "kubernetes.io/h2c")
    blobs = config(manifests, "m-maestro-policy-worker")["blobs"]["remote"]["endpoints"]
    assert blobs == ["http://m-maestro-coordinator.answers.svc.cluster.local:443"]
    affinity = of_kind(manifests, "StatefulSet")["m-maestro-etcd"]["spec"]["template"]["spec"]["affinity"]
    assert set(affinity) == {"nodeAffinity", "podAntiAffinity"}
    assert "requiredDuringSchedulingIgnoredDuringExecution" in affinity["podAntiAffinity"]
    for manifest in manifests:
        assert manifest["metadata"]["labels"]["team"] == "search"
        assert manifest["metadata"]["annotations"]["contact"] == "search@example.org"


def check_autoscaling(helm: Helm) -> None:
    """By CPU, by depth of a queue, or both; as an HPA or through KEDA."""
    scalers = of_kind(helm.render(VALUES / "autoscaling-hpa.yaml"), "HorizontalPodAutoscaler")
    assert len(scalers) == 5
    cpu, depth = scalers["m-maestro-policy-worker"]["spec"]["metrics"]
    assert cpu["resource"]["target"]["averageUtilization"] == 80
    assert depth["pods"]["metric"] == {
        "name": "maestro_queue_depth_items",
        "selector": {"matchLabels": {"queue": "decisions"}},
    }
    assert depth["pods"]["target"] == {"type": "AverageValue", "averageValue": "8"}
    assert [one["type"] for one in scalers["m-maestro-skill-runner"]["spec"]["metrics"]] == ["Pods"]
    objects = of_kind(helm.render(VALUES / "autoscaling-keda.yaml"), "ScaledObject")
    assert len(objects) == 4
    depth, cpu = objects["m-maestro-policy-worker"]["spec"]["triggers"]
    assert cpu["type"] == "cpu"
    assert depth["metadata"] == {
        "serverAddress": "http://prometheus.monitoring:9090",
        "query": 'sum(maestro_queue_depth_items{namespace="answers",'
        'pod=~"m-maestro-policy-worker-[a-z0-9]+-[a-z0-9]+",queue="decisions"})',
        "threshold": "8",
    }
    (only,) = objects["m-maestro-skill-runner"]["spec"]["triggers"]
    assert only["metadata"]["threshold"] == "2.5"
