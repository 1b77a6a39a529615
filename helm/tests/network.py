"""Says which pod may call which, as a network plugin would read the chart's policies."""

from dataclasses import dataclass

from chart import Manifest, of_kind, pods
from checks_pods import containers, selects

OUTSIDE = "outside"


@dataclass(frozen=True)
class Network:
    """The pods of a release and its policies."""

    manifests: list[Manifest]

    def may_call(self, caller: str, callee: str, port: int) -> bool:
        """Whether a pod of the component `caller` reaches `port` of one of `callee`. `OUTSIDE` is any
        address that is no pod of the release; `expert/KEY` is the pod of one expert."""
        return self._out(caller, callee, port) and self._in(caller, callee, port)

    def _labels(self, component: str) -> dict | None:
        if component == OUTSIDE:
            return None
        return self._pod(component)["metadata"]["labels"]

    def _pod(self, component: str) -> Manifest:
        part, _, expert = component.partition("/")
        for pod in pods(self.manifests).values():
            labels = pod["metadata"]["labels"]
            if labels["app.kubernetes.io/component"] == part and expert in ("", labels.get("maestro/expert")):
                return pod
        raise KeyError(component)

    def _rules(self, component: str, direction: str) -> tuple[bool, list[dict]]:
        """Whether any policy holds the pod back, and what the policies let through."""
        policies = [
            policy["spec"]
            for policy in of_kind(self.manifests, "NetworkPolicy").values()
            if selects(policy["spec"]["podSelector"], self._labels(component))
            and direction in policy["spec"]["policyTypes"]
        ]
        rules = [rule for spec in policies for rule in spec.get(direction.lower(), [])]
        return bool(policies), rules

    def _out(self, caller: str, callee: str, port: int) -> bool:
        if caller == OUTSIDE:
            return True
        held, rules = self._rules(caller, "Egress")
        return not held or any(
            self._peer(rule.get("to"), callee) and self._port(rule, port, None) for rule in rules
        )

    def _in(self, caller: str, callee: str, port: int) -> bool:
        if callee == OUTSIDE:
            return True
        held, rules = self._rules(callee, "Ingress")
        return not held or any(
            self._peer(rule.get("from"), caller) and self._port(rule, port, callee) for rule in rules
        )

    def _peer(self, peers: list[dict] | None, component: str) -> bool:
        if not peers:
            return True
        labels = self._labels(component)
        for peer in peers:
            if "podSelector" in peer and "namespaceSelector" not in peer:
                if labels is not None and selects(peer["podSelector"], labels):
                    return True
            elif labels is None:
                # Other namespaces and address ranges: the outside as the values admit it.
                return True
        return False

    def _port(self, rule: dict, port: int, callee: str | None) -> bool:
        if "ports" not in rule:
            return True
        named = {}
        if callee:
            named = {
                one["name"]: one["containerPort"]
                for container in containers(self._pod(callee))
                for one in container.get("ports", [])
            }
        ports = [one["port"] for one in rule["ports"] if one["protocol"] == "TCP"]
        return any(named.get(one, one) == port for one in ports)
