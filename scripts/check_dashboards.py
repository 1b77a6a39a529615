#!/usr/bin/env python3
"""Check the dashboards and alerts of the chart.

Every expression, those in runbooks included, must parse, name only metrics that the sources of
crates/telemetry declare (or that etcd and Prometheus themselves expose), and use only labels that
these carry. Every panel must have a description and a unit, every alert a runbook. With
--prometheus URL each dashboard expression must also give data there:

    scripts/check_dashboards.py [--prometheus http://127.0.0.1:9090] [--namespace REGEX]

Needs promql-parser and PyYAML.
"""

import argparse
import json
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parent.parent
METRICS = ROOT / "crates/telemetry/src/metrics"
FILES = ROOT / "helm/maestro/files"
RUNBOOKS = ROOT / "docs/runbooks"
OLDEST_SCHEMA = 36
# What etcd 3.4 and later exposes, as far as it is used here; histograms without their endings.
ETCD = {
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_server_lease_expired_total",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
}
ETCD_HISTOGRAMS = {
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_network_peer_round_trip_time_seconds",
}
PROMETHEUS = {"up"}
# Labels that the scrape adds, and the one that buckets have.
SCRAPED_LABELS = {"instance", "job", "le", "namespace", "pod"}
# What Grafana puts in place of its own variables.
RANGES = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m"}


@dataclass(frozen=True)
class Names:
    """The metrics and labels that may stand in an expression."""

    metrics: frozenset[str]
    labels: frozenset[str]

    @classmethod
    def read(cls) -> "Names":
        """Read them from the Rust enums."""

        def declared(file: str) -> set[str]:
            found = set(re.findall(r'=>\s*"([a-z_:]+)",', (METRICS / file).read_text()))
            if not found:
                raise SystemExit(f"check_dashboards: no metric is declared in {file}")
            return found

        histograms = declared("histogram.rs") | ETCD_HISTOGRAMS
        series = {name + end for name in histograms for end in ("_bucket", "_sum", "_count")}
        plain = declared("counter.rs") | declared("gauge.rs") | ETCD | PROMETHEUS
        labels = set(re.findall(r'=>\s*\("([a-z_]+)",', (METRICS / "label.rs").read_text()))
        if not labels:
            raise SystemExit("check_dashboards: no label is declared in label.rs")
        return cls(frozenset(plain | series), frozenset(labels | SCRAPED_LABELS))


@dataclass(frozen=True)
class Expression:
    """One expression and where it stands."""

    where: str
    text: str

    def concrete(self, namespace: str) -> str:
        """The expression with Grafana's variables replaced."""
        text = self.text.replace("$namespace", namespace)
        for variable, value in RANGES.items():
            text = text.replace(variable, value)
        return text


def children(node: object) -> Iterator[object]:
    """The expressions directly inside one, of whatever kind it is."""
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield child
    yield from getattr(node, "args", None) or []


def selectors(node: object) -> Iterator[promql_parser.VectorSelector]:
    """Every selector of series in an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for child in children(node):
        yield from selectors(child)


def grouping(node: object) -> Iterator[str]:
    """Every label that an expression groups or matches by."""
    modifier = getattr(node, "modifier", None)
    if isinstance(modifier, promql_parser.AggModifier):
        yield from modifier.labels
    elif isinstance(modifier, promql_parser.BinModifier):
        if modifier.matching is not None:
            yield from modifier.matching.labels
        yield from modifier.group_labels or []
    for child in children(node):
        yield from grouping(child)


def check_expression(expression: Expression, names: Names) -> list[str]:
    """What is wrong with one expression."""
    try:
        tree = promql_parser.parse(expression.concrete(".*"))
    except ValueError as error:
        return [f"does not parse: {error}"]
    wrong = []
    labels = set(grouping(tree))
    used = list(selectors(tree))
    if not used:
        wrong.append("selects no series")
    for selector in used:
        if selector.name not in names.metrics:
            wrong.append(f"unknown metric {selector.name}")
        labels.update(matcher.name for matcher in selector.matchers.matchers)
    wrong += [f"unknown label {label}" for label in sorted(labels - names.labels)]
    return wrong


def check_bound(expression: Expression) -> list[str]:
    """What of an alert is not bound to a namespace, or to Maestro's own etcd."""
    wrong = []
    for selector in selectors(promql_parser.parse(expression.text)):
        matchers = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        if matchers.get("namespace") != ".+":
            wrong.append(f'{selector.name} lacks namespace=~".+", which the chart replaces')
        if selector.name.startswith("etcd_") and matchers.get("job") != "etcd":
            wrong.append(f'{selector.name} lacks job="etcd"')
    return wrong


def read_dashboard(path: Path) -> tuple[list[Expression], list[str]]:
    """A dashboard's expressions, and what is wrong with its frame and panels."""
    board = json.loads(path.read_text())
    wrong = []
    if board.get("schemaVersion", 0) < OLDEST_SCHEMA:
        wrong.append(f"{path.name}: schemaVersion is older than {OLDEST_SCHEMA}")
    variables = {entry["name"] for entry in board["templating"]["list"]}
    wrong += [
        f"{path.name}: has no variable {name}"
        for name in sorted({"datasource", "namespace"} - variables)
    ]
    expressions = []
    ids = set()
    for panel in board["panels"]:
        where = f"{path.name}: {panel.get('title')}"
        if panel["id"] in ids:
            wrong.append(f"{where}: its id {panel['id']} is taken")
        ids.add(panel["id"])
        if panel["type"] == "row":
            continue
        if not panel.get("description"):
            wrong.append(f"{where}: has no description")
        if not panel["fieldConfig"]["defaults"].get("unit"):
            wrong.append(f"{where}: has no unit")
        if not panel.get("targets"):
            wrong.append(f"{where}: has no expression")
        for target in panel.get("targets", []):
            expressions.append(Expression(f"{where} {target['refId']}", target["expr"]))
            if "$namespace" not in target["expr"]:
                wrong.append(f"{where}: ignores the chosen namespace")
    return expressions, wrong


def read_alerts(path: Path) -> tuple[list[Expression], list[str]]:
    """A rule file's expressions, and what is wrong with its annotations."""
    expressions, wrong = [], []
    for group in yaml.safe_load(path.read_text())["groups"]:
        for rule in group["rules"]:
            name = rule["alert"]
            where = f"{path.name}: {name}"
            expressions.append(Expression(where, rule["expr"]))
            if rule.get("labels", {}).get("severity") not in ("critical", "warning"):
                wrong.append(f"{where}: severity is neither critical nor warning")
            annotations = rule.get("annotations", {})
            for key in ("summary", "description", "runbook_url"):
                if not annotations.get(key):
                    wrong.append(f"{where}: has no {key}")
            if not annotations.get("runbook_url", "").endswith(f"/{name}.md"):
                wrong.append(f"{where}: its runbook is not of its name")
            if not (RUNBOOKS / f"{name}.md").is_file():
                wrong.append(f"{where}: there is no docs/runbooks/{name}.md")
    return expressions, wrong


def read_runbook(path: Path) -> list[Expression]:
    """The expressions that a runbook tells its reader to ask for."""
    blocks = re.findall(r"^```promql\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    return [Expression(f"docs/runbooks/{path.name}", block) for block in blocks]


def has_data(url: str, query: str) -> str | None:
    """What keeps an expression from giving data, if anything does. NaN (0 of 0) is no data."""
    address = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(address, timeout=30) as response:
            answer = json.load(response)
    except OSError as error:
        return f"cannot be asked: {error}"
    values = [series["value"][1] for series in answer["data"]["result"]]
    if not values:
        return "gives no series"
    return None if any(value != "NaN" for value in values) else "gives NaN only"


def main() -> None:
    """Check everything and say what is wrong; exit 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prometheus", help="require data from this server")
    parser.add_argument("--namespace", default=".*", help="what the namespace variable stands for")
    arguments = parser.parse_args()
    names = Names.read()
    boards = sorted((FILES / "dashboards").glob("*.json"))
    rules = sorted((FILES / "alerts").glob("*.yaml"))
    if not boards or not rules:
        raise SystemExit("check_dashboards: there are no dashboards or no alerts")
    panels, alerts, wrong = [], [], []
    for paths, read, found in ((boards, read_dashboard, panels), (rules, read_alerts, alerts)):
        for path in paths:
            expressions, complaints = read(path)
            found += expressions
            wrong += complaints
    runbooks = sorted(RUNBOOKS.glob("*.md"))
    asked = [expression for path in runbooks for expression in read_runbook(path)]
    for expression in panels + alerts + asked:
        wrong += [f"{expression.where}: {text}" for text in check_expression(expression, names)]
    for expression in alerts:
        wrong += [f"{expression.where}: {text}" for text in check_bound(expression)]
    known = {expression.where.split(": ")[1] for expression in alerts} | {"README"}
    wrong += [
        f"docs/runbooks/{path.name}: there is no such alert"
        for path in runbooks
        if path.stem not in known
    ]
    if arguments.prometheus:
        for expression in panels:
            text = has_data(arguments.prometheus, expression.concrete(arguments.namespace))
            if text:
                wrong.append(f"{expression.where}: {text}")
    for line in wrong:
        print(line, file=sys.stderr)
    print(
        f"{len(panels)} expressions of {len(boards)} dashboards, {len(alerts)} alerts, "
        f"{len(asked)} expressions of runbooks: {len(wrong)} complaints"
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
