"""A CycloneDX 1.5 bill of materials of one image: crates and Debian packages.

Crates are all that `Cargo.lock` lets the program's package reach. The lock does not tell build and
test dependencies apart, so the list is an upper bound: nothing in the program is missing from it.
"""

import hashlib
import json
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

NAMESPACE = uuid.UUID("8b9f2f6e-54a5-5d0b-9d55-0f3f1f6c7a10")


def document(
    package: str, *, lock: Path, program: Path, debian: list[dict[str, str]], epoch: int
) -> str:
    """The document as JSON. It depends on nothing but its arguments."""
    locked = tomllib.loads(lock.read_text())["package"]
    root, crates = reachable(package, locked)
    main = {
        "type": "application",
        "bom-ref": purl(root),
        "name": package,
        "version": root["version"],
        "purl": purl(root),
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
        "hashes": [{"alg": "SHA-256", "content": sha256(program)}],
    }
    components = [crate(entry) for entry in crates] + [deb(control) for control in debian]
    edges = [
        {"ref": purl(entry), "dependsOn": sorted(purl(other) for other in needs)}
        for entry, needs in dependencies([root, *crates], locked)
    ]
    edges[0]["dependsOn"] += [component["bom-ref"] for component in components[len(crates) :]]
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": main,
        },
        "components": components,
        "dependencies": edges,
    }
    serial = uuid.uuid5(NAMESPACE, json.dumps(body, sort_keys=True))
    return json.dumps({"serialNumber": f"urn:uuid:{serial}", **body}, indent=1) + "\n"


def reachable(package: str, locked: list[dict]) -> tuple[dict, list[dict]]:
    """The package's own entry, and every entry that it depends on, however indirectly."""
    roots = [entry for entry in locked if entry["name"] == package]
    if len(roots) != 1:
        raise SystemExit(f"sbom: Cargo.lock holds {len(roots)} packages named {package}")
    found = {purl(roots[0]): roots[0]}
    waiting = list(roots)
    while waiting:
        for _, needs in dependencies([waiting.pop()], locked):
            for entry in needs:
                if purl(entry) not in found:
                    found[purl(entry)] = entry
                    waiting.append(entry)
    del found[purl(roots[0])]
    return roots[0], [found[key] for key in sorted(found)]


def dependencies(entries: list[dict], locked: list[dict]) -> list[tuple[dict, list[dict]]]:
    """Each entry with the entries it names: by name alone, or with a version if there are more."""
    by_name: dict[str, list[dict]] = {}
    for entry in locked:
        by_name.setdefault(entry["name"], []).append(entry)
    edges = []
    for entry in entries:
        needs = []
        for text in entry.get("dependencies", []):
            name, *version = text.split()
            needs += [
                other for other in by_name[name] if not version or other["version"] == version[0]
            ]
        edges.append((entry, needs))
    return edges


def purl(entry: dict) -> str:
    """The package URL of a crate; `+` of a version is percent-encoded."""
    return f"pkg:cargo/{entry['name']}@{quote(entry['version'], safe='')}"


def crate(entry: dict) -> dict:
    """One crate. Members of the workspace have no checksum."""
    component = {
        "type": "library",
        "bom-ref": purl(entry),
        "name": entry["name"],
        "version": entry["version"],
        "purl": purl(entry),
    }
    if "checksum" in entry:
        component["hashes"] = [{"alg": "SHA-256", "content": entry["checksum"]}]
    return component


def deb(control: dict[str, str]) -> dict:
    """One Debian package. Advisories name the source package, so the URL does too."""
    name, version = control["Package"], control["Version"]
    source = control.get("Source", name).split()[0]
    url = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}"
    url += f"?arch={control['Architecture']}&distro=debian-12&upstream={quote(source, safe='')}"
    return {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
        "supplier": {"name": control.get("Maintainer", "Debian")},
    }


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
