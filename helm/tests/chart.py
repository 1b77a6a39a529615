"""Renders the chart with one helm, as an installation would."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE.parent / "maestro"
RELEASE, NAMESPACE = "m", "answers"
Manifest = dict


class Refused(Exception):
    """Helm did not render or lint the chart; the text is its complaint."""


@dataclass(frozen=True)
class Helm:
    """One helm program."""

    program: Path

    def version(self) -> str:
        """The version, as `v3.17.2`."""
        return self._run("version", "--template", "{{ .Version }}").strip()

    def lint(self, values: Path) -> None:
        """Lint the chart with a file of values; warnings count."""
        self._run("lint", str(CHART), "--strict", "--values", str(values))

    def text(
        self,
        *values: Path | str | dict,
        kube: str = "1.34.0",
        chart: Path = CHART,
        release: str = RELEASE,
    ) -> str:
        """The manifests as text. Values are files or mappings, later ones win."""
        command = ["template", release, str(chart), "--namespace", NAMESPACE, "--kube-version", kube]
        documents = []
        for value in values:
            if isinstance(value, dict):
                documents.append(yaml.safe_dump(value))
                if len(documents) > 1:
                    raise ValueError("only one mapping fits on standard input")
                command += ["--values", "-"]
            else:
                command += ["--values", str(value)]
        return self._run(*command, stdin="".join(documents))

    def render(self, *values: Path | str | dict, **options) -> list[Manifest]:
        """The manifests, read back."""
        return parse(self.text(*values, **options))

    def _run(self, *arguments: str, stdin: str = "") -> str:
        result = subprocess.run(
            [self.program, *arguments], input=stdin, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise Refused((result.stderr + result.stdout).strip())
        return result.stdout


class UniqueKeys(yaml.CSafeLoader):
    """Refuses a mapping with one key twice, of which YAML would silently keep the last."""


def _mapping(loader: UniqueKeys, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"keys stand twice in a manifest: {sorted(twice)}")
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value)}


UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str) -> list[Manifest]:
    """The manifests of a rendered chart."""
    return [one for one in yaml.load_all(text, Loader=UniqueKeys) if one]


def identity(manifest: Manifest) -> tuple[str, str]:
    """Kind and name."""
    return manifest["kind"], manifest["metadata"]["name"]


def by_identity(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """The manifests by kind and name; two of one name are a mistake."""
    found: dict[tuple[str, str], Manifest] = {}
    for manifest in manifests:
        if identity(manifest) in found:
            raise AssertionError(f"two objects are {identity(manifest)}")
        found[identity(manifest)] = manifest
    return found


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """The manifests of a kind by name."""
    return {name: one for (of, name), one in by_identity(manifests).items() if of == kind}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Every pod and pod template by the name of its object, as {metadata, spec}."""
    found = {}
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            found[manifest["metadata"]["name"]] = manifest["spec"]["template"]
        elif manifest["kind"] == "Pod":
            found[manifest["metadata"]["name"]] = manifest
    return found


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pods that serve: all but that of `helm test`."""
    component = "app.kubernetes.io/component"
    found = pods(manifests).items()
    return {name: pod for name, pod in found if pod["metadata"]["labels"][component] != "test"}


def config(manifests: list[Manifest], name: str) -> dict:
    """The program's settings in a ConfigMap."""
    return yaml.load(of_kind(manifests, "ConfigMap")[name]["data"]["config.yaml"], Loader=UniqueKeys)


def digest(value: object) -> str:
    """A digest of a manifest's content."""
    return hashlib.sha256(yaml.safe_dump(value, sort_keys=True).encode()).hexdigest()
