"""What single objects carry: labels, names, ports, members. Each check takes a helm."""

import re
import shutil
import tempfile
from pathlib import Path

import yaml

from chart import CHART, Helm, Refused, of_kind, parse, pods
from checks_chart import ADDED


def check_labels_stay_labels(helm: Helm) -> None:
    """Also beside annotations that the values give to every object."""
    shared = {"commonLabels": {"team": "search"}, "commonAnnotations": {"contact": "search@example.org"}}
    on = {"enabled": True, "labels": {"release": "prometheus", "team": "own"}}
    for monitor, kind in (("serviceMonitor", "ServiceMonitor"), ("podMonitor", "PodMonitor")):
        metrics = {monitor: on, "prometheusRule": on, "dashboards": {**on, "annotations": {"folder": "M"}}}
        manifests = helm.render(shared | {"metrics": metrics})
        found = [*of_kind(manifests, kind).values(), *of_kind(manifests, "PrometheusRule").values()]
        found += [one for name, one in of_kind(manifests, "ConfigMap").items() if "dashboard" in name]
        assert len(found) == 7, kind
        for one in found:
            metadata = one["metadata"]
            assert metadata["labels"]["release"] == "prometheus", metadata["name"]
            assert metadata["labels"]["team"] == "own", metadata["name"]
            folder = {"folder": "M"} if "dashboard" in metadata["name"] else {}
            assert metadata["annotations"] == {"contact": "search@example.org"} | folder


def check_names_that_look_like_something_else(helm: Helm) -> None:
    """A release or an expert named like a number or like nothing gives labels that are text."""
    descriptor = ADDED["experts"]["added"]["descriptor"]
    values = {"experts": {key: {"descriptor": descriptor | {"name": f"e-{key}"}} for key in ("123", "null")}}
    for release in ("123", "1e3", "null", "0x1f"):
        text = helm.text(values, release=release)
        # PyYAML reads 1e3 as text, Kubernetes does not.
        assert not re.search(r": (123|1e3|null|0x1f)$", text, re.MULTILINE)
        manifests = parse(text)
        for manifest in manifests:
            assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == release
            assert isinstance(manifest["metadata"]["name"], str)
        experts = {pod["metadata"]["labels"].get("maestro/expert") for pod in pods(manifests).values()}
        assert {"123", "null", "image-analysis"} <= experts


def check_a_public_coordinator_keeps_its_metrics_inside(helm: Helm) -> None:
    """Only the gRPC port is published; Prometheus finds the metrics behind a Service of their own."""
    given = {
        "type": "LoadBalancer",
        "nodePort": 30070,
        "externalTrafficPolicy": "Local",
        "loadBalancerClass": "example/internal",
        "loadBalancerSourceRanges": ["192.0.2.0/24", "2001:db8::/32"],
    }
    services = of_kind(helm.render({"coordinator": {"service": given}}), "Service")
    spec = services["m-maestro-coordinator"]["spec"]
    assert [(one["name"], one["nodePort"]) for one in spec["ports"]] == [("grpc", 30070)]
    for key in ("type", "externalTrafficPolicy", "loadBalancerClass", "loadBalancerSourceRanges"):
        assert spec[key] == given[key]
    inside = services["m-maestro-coordinator-metrics"]
    assert inside["spec"]["type"] == "ClusterIP"
    assert [one["name"] for one in inside["spec"]["ports"]] == ["metrics"]
    assert inside["metadata"]["labels"]["app.kubernetes.io/component"] == "coordinator"
    services = of_kind(helm.render({"coordinator": {"service": {"type": "NodePort"}}}), "Service")
    (port,) = services["m-maestro-coordinator"]["spec"]["ports"]
    assert "nodePort" not in port
    services = of_kind(helm.render(), "Service")
    assert "m-maestro-coordinator-metrics" not in services
    assert len(services["m-maestro-coordinator"]["spec"]["ports"]) == 2


def check_an_etcd_keeps_its_members(helm: Helm) -> None:
    """An upgrade that changes their number is refused; one that does not is rendered."""
    call = 'lookup "apps/v1" "StatefulSet" .Release.Namespace (include "maestro.partName" (list . "etcd"))'
    (found,) = of_kind(helm.render(), "StatefulSet").values()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "maestro"
        shutil.copytree(CHART, copy)
        # There is no cluster to ask here: a file stands for its answer.
        template = copy / "templates/_validate.tpl"
        assert call in template.read_text()
        template.write_text(template.read_text().replace(call, '.Files.Get "found.yaml" | fromYaml'))
        (copy / "found.yaml").write_text(yaml.safe_dump(found))
        helm.render(chart=copy)
        try:
            helm.render({"etcd": {"replicas": 5}}, chart=copy)
        except Refused as error:
            assert "made with 3 members" in str(error)
        else:
            raise AssertionError("it was rendered")
