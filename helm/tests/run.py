#!/usr/bin/env python3
"""Tests of the chart, without a cluster.

  python run.py --helm HELM [--helm HELM] [--crd-schemas FOLDER] [--only PART]

With each helm: lint, every file of values/ rendered for each version of Kubernetes and checked by
itself and against Kubernetes' schemas, values that must be refused, and checks of single settings.
Then, once, checkov. `install-helm.sh` fetches helm, `requirements.txt` lists the rest.

FOLDER holds schemas of custom kinds as GROUP/KIND_VERSION.json, the layout of datreeio/CRDs-catalog;
crd-schemas beside this file has those of ScaledObject, ServiceMonitor, PodMonitor and PrometheusRule.
"""

import argparse
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from functools import lru_cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

import checks_chart
import checks_objects
import checks_pods
import checks_wiring
from chart import CHART, HERE, Helm, Manifest, Refused, identity

OLDEST = "1.20.2"
MINORS = range(25, 38)
CUSTOM = {"keda.sh", "monitoring.coreos.com"}
VALUES = [CHART / "values-ha.yaml", *sorted((HERE / "values").glob("*.yaml"))]


class Report:
    """Counts what passed and says what did not."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def expect(self, what: str, complaint: str | None) -> None:
        """One check: its complaint, or none."""
        if complaint is None:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAILED  {what}\n        {complaint}".rstrip(), flush=True)


def checks(module: object) -> list:
    """The functions of a module that check something."""
    return [one for name, one in inspect.getmembers(module, inspect.isfunction) if name.startswith("check_")]


def attempt(check, subject) -> str | None:
    """Runs one check; its complaint, or none."""
    try:
        check(subject)
    except Exception:  # noqa: BLE001  whatever goes wrong in a check is its failure
        frames = traceback.format_exc().strip().splitlines()
        return "\n        ".join(line.strip() for line in frames[-4:])
    return None


def lint(helm: Helm, report: Report) -> None:
    """`helm lint --strict` with every set of values."""
    for values in VALUES:
        report.expect(f"lint {values.name}", attempt(helm.lint, values))


def matrix(helm: Helm, report: Report, schemas: Path) -> None:
    """Every set of values on every version of Kubernetes."""
    custom_kinds: set[str] = set()
    for values in VALUES:
        for kube in [OLDEST, *(f"1.{minor}.0" for minor in MINORS)]:
            what = f"{values.name} on {kube}"
            try:
                manifests = helm.render(values, kube=kube)
            except (Refused, ValueError) as error:
                report.expect(what, str(error))
                continue
            version = tuple(map(int, kube.split(".")[:2]))
            rendered = checks_pods.Rendered(manifests, version)
            for check in checks(checks_pods):
                report.expect(f"{what}: {check.__doc__.splitlines()[0]}", attempt(check, rendered))
            for manifest in manifests:
                group = manifest["apiVersion"].split("/")[0]
                if group in CUSTOM:
                    custom_kinds.add(manifest["kind"])
                    report.expect(f"{what}: {identity(manifest)}", against_custom(manifest, schemas))
                elif kube != OLDEST:
                    report.expect(f"{what}: {identity(manifest)}", against_core(json.dumps(manifest), kube))
    wanted = {"ScaledObject", "ServiceMonitor", "PodMonitor", "PrometheusRule"}
    missing = wanted - custom_kinds
    report.expect("custom kinds", f"none rendered of {missing}" if missing else None)


@lru_cache(maxsize=None)
def against_core(text: str, kube: str) -> str | None:
    """Kubernetes' own schema of that version; unknown fields count. Most sets of values give the same
    objects, hence the cache."""
    manifest = json.loads(text)
    try:
        kubernetes_validate.validate(manifest, kube.rpartition(".")[0], strict=True)
    except (
        kubernetes_validate.ValidationError,
        kubernetes_validate.SchemaNotFoundError,
        kubernetes_validate.InvalidSchemaError,
    ) as error:
        return str(error)
    return None


def against_custom(manifest: Manifest, schemas: Path) -> str | None:
    """The custom kind's schema, with no key that it does not know."""
    group, version = manifest["apiVersion"].split("/")
    schema = json.loads((schemas / group / f"{manifest['kind'].lower()}_{version}.json").read_text())
    close(schema)
    errors = sorted(jsonschema.Draft7Validator(schema).iter_errors(manifest), key=str)
    return "; ".join(f"{error.json_path}: {error.message}" for error in errors) or None


def close(schema: object) -> None:
    """Has objects take only the keys that the schema names, as the API server prunes the rest."""
    if isinstance(schema, list):
        for item in schema:
            close(item)
    if isinstance(schema, dict):
        open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
        if "properties" in schema and not open_ended:
            schema["additionalProperties"] = False
            # What every object has, which these schemas leave out at the root.
            if "kind" in schema["properties"]:
                schema["properties"].setdefault("metadata", {})
        for item in list(schema.values()):
            close(item)


def rejections(helm: Helm, report: Report) -> None:
    """Values that make no sense are refused, with words that lead to the setting."""
    for case in yaml.safe_load((HERE / "rejections.yaml").read_text()):
        complaint = None
        try:
            helm.text(case["values"])
            complaint = "it was rendered"
        except Refused as error:
            missing = [word for word in case["says"] if word not in str(error)]
            if missing:
                complaint = f"the complaint lacks {missing}: {error}"
        report.expect(f"refused: {case['because']}", complaint)


def settings(helm: Helm, report: Report) -> None:
    """Checks of single settings."""
    for check in checks(checks_chart) + checks(checks_objects) + checks(checks_wiring):
        report.expect(f"{check.__name__}: {check.__doc__.splitlines()[0]}", attempt(check, helm))


def checkov(helm: Helm, report: Report) -> None:
    """checkov on every set of values; each finding needs an exception and each exception a finding."""
    exceptions = yaml.safe_load((HERE / "checkov.yaml").read_text())
    used = [0] * len(exceptions)
    with tempfile.TemporaryDirectory() as folder:
        for values in VALUES:
            (Path(folder) / values.name).write_text(helm.text(values))
        (Path(folder) / "bin").mkdir()
        (Path(folder) / "bin/helm").symlink_to(helm.program.resolve())
        environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        rendered = scan(["--directory", folder, "--framework", "kubernetes"], environment)
        chart = ["--directory", str(CHART), "--framework", "helm", "--var-file", str(CHART / "values.yaml")]
        itself = scan(chart, environment)
    for where, result in (("rendered", rendered), ("chart", itself)):
        failures, passed, errors = result
        report.expect(f"checkov, {where}: parses", f"could not read {errors} files" if errors else None)
        report.expect(f"checkov, {where}: looks", None if passed > 300 else f"only {passed} checks passed")
        for check, resource, name in failures:
            fitting = [
                index
                for index, one in enumerate(exceptions)
                if one["check"] == check and re.fullmatch(one["resources"], resource)
            ]
            # helm renders the chart by itself into the namespace `default`.
            expected = where == "chart" and check == "CKV_K8S_21"
            for index in fitting:
                used[index] += 1
            complaint = None if fitting or expected else f"{check} {name}"
            report.expect(f"checkov, {where}: {resource}", complaint)
    for one, count in zip(exceptions, used):
        fits = None if count else "the exception fits nothing any more"
        report.expect(f"checkov: exception {one['check']} for {one['resources']}", fits)


def scan(arguments: list[str], environment: dict) -> tuple[list[tuple[str, str, str]], int, int]:
    """Runs checkov: what failed, how many checks passed, how many files it could not read."""
    command = [sys.executable, "-m", "checkov.main", *arguments]
    command += ["--skip-download", "--quiet", "--compact", "--output", "json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    try:
        outcome = json.loads(result.stdout)
    except json.JSONDecodeError:
        raise SystemExit(f"checkov did not answer in JSON: {result.stdout}{result.stderr}") from None
    outcomes = outcome if isinstance(outcome, list) else [outcome]
    failures = [
        (one["check_id"], one["resource"], one["check_name"])
        for outcome in outcomes
        for one in outcome["results"]["failed_checks"]
    ]
    passed = sum(outcome["summary"]["passed"] for outcome in outcomes)
    errors = sum(outcome["summary"]["parsing_errors"] for outcome in outcomes)
    return failures, passed, errors


def main() -> int:
    """Runs the tests; 1 if any failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--helm", type=Path, action="append", required=True, help="a helm program")
    schemas = HERE / "crd-schemas"
    parser.add_argument("--crd-schemas", type=Path, default=schemas, help="schemas of custom kinds")
    parts = ["lint", "matrix", "rejections", "settings", "checkov"]
    parser.add_argument("--only", choices=parts, action="append", help="run this part")
    arguments = parser.parse_args()
    wanted = arguments.only or parts
    simple = {"lint": lint, "rejections": rejections, "settings": settings, "checkov": checkov}
    report = Report()
    for index, program in enumerate(arguments.helm):
        helm = Helm(program)
        print(f"helm {helm.version()}: {len(VALUES)} sets of values", flush=True)
        for part in parts:
            # Both helms render the same, which the other parts show: checkov need not look twice.
            if part not in wanted or (part == "checkov" and index):
                continue
            began, before = time.monotonic(), report.passed
            if part == "matrix":
                matrix(helm, report, arguments.crd_schemas)
            else:
                simple[part](helm, report)
            print(f"  {part}: {report.passed - before} passed, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
