#!/usr/bin/env python3
"""Lay out the root of one service's image from Debian packages and the service's program.

Writes three trees under --output: `system` (what comes from Debian; it changes rarely and becomes
the lower layer), `program` (the executable, licences and the SBOM) and, where the service has any,
`writable` (folders that belong to the image's user). Nothing is installed: packages are unpacked,
and only what `contents.toml` names and the libraries in use are copied. Needs apt-get, dpkg-deb and
objdump. The same program and packages give the same files.
"""

import argparse
import fnmatch
import glob
import os
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import sbom

HERE = Path(__file__).resolve().parent
USER = 65532
# Where the linker looks without a cache or a setting, in its order. The first is the multiarch one.
LIBRARY_FOLDERS = ("usr/lib/*-linux-gnu*", "usr/lib", "usr/lib64")


@dataclass
class Contents:
    """What one image holds, from `contents.toml`."""

    program: str
    title: str
    packages: list[str] = field(default_factory=list)
    executables: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    trees: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    writable: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, service: str, variant: str | None) -> "Contents":
        """Join what all images, the service and its variant hold."""
        table = tomllib.loads((HERE / "contents.toml").read_text())
        try:
            own = table["services"][service]
            parts = [table["common"], own]
            if variant:
                parts.append(own.get("variants", {})[variant])
        except KeyError as missing:
            raise SystemExit(f"rootfs: contents.toml does not know {missing}") from None
        contents = cls(own["program"], own["title"])
        for part in parts:
            for key, value in part.items():
                if isinstance(value, list):
                    getattr(contents, key).extend(value)
        return contents


class Packages:
    """Unpacked Debian packages, each in a folder of its own."""

    def __init__(self, debs: list[Path], scratch: Path) -> None:
        self.folders: dict[str, Path] = {}
        self.control: dict[str, dict[str, str]] = {}
        for deb in debs:
            control = parse_control(run("dpkg-deb", "--field", str(deb)))
            name = control["Package"]
            self.folders[name] = scratch / name
            self.control[name] = control
            run("dpkg-deb", "--extract", str(deb), str(self.folders[name]))

    def find(self, pattern: str) -> list[tuple[str, Path]]:
        """Every (package, path) that fits a pattern. /lib and /usr/lib are one."""
        return [
            (name, folder / match)
            for name, folder in sorted(self.folders.items())
            for spelling in sorted({pattern, pattern.removeprefix("usr/")})
            for match in sorted(glob.glob(spelling, root_dir=folder))
        ]

    def library(self, soname: str) -> tuple[str, Path]:
        """The package and file that the linker would find under a name."""
        for folder in LIBRARY_FOLDERS:
            if found := self.find(f"{folder}/{soname}"):
                return found[0]
        raise SystemExit(f"rootfs: no package that was fetched holds {soname}")


class Root:
    """The tree of files taken from packages, and which packages they are from."""

    def __init__(self, root: Path, packages: Packages, exclude: list[str]) -> None:
        self.root = root
        self.packages = packages
        self.exclude = exclude
        self.used: set[str] = set()
        self.elf: list[Path] = []

    def add(self, pattern: str) -> None:
        """Copy every file or tree that fits; none at all is a mistake in `contents.toml`."""
        found = self.packages.find(pattern)
        if not found:
            raise SystemExit(f"rootfs: no package that was fetched holds {pattern}")
        for package, path in found:
            self.copy(package, path)

    def copy(self, package: str, source: Path) -> None:
        """Copy one file, link or tree to its place, with /lib folded into /usr/lib."""
        inside = source.relative_to(self.packages.folders[package])
        if inside.parts[0] in ("bin", "sbin", "lib", "lib64"):
            inside = Path("usr") / inside
        if any(fnmatch.fnmatch(str(inside), pattern) for pattern in self.exclude):
            return
        if source.is_dir() and not source.is_symlink():
            for child in sorted(source.iterdir()):
                self.copy(package, child)
            return
        target = self.root / inside
        if target.is_symlink() or target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
        self.used.add(package)
        if source.is_symlink():
            self.follow(target, inside)
        elif is_elf(source):
            self.elf.append(target)

    def follow(self, target: Path, inside: Path) -> None:
        """Copy what a link points to, which may stand in another package."""
        where = os.path.normpath(Path("/") / inside.parent / os.readlink(target))
        wanted = where.removeprefix("/")
        self.add(f"{wanted}/copyright" if wanted.startswith("usr/share/doc/") else wanted)

    def close(self, program: Path, libraries: list[str]) -> None:
        """Copy the libraries that the executables ask for, and those that these ask for."""
        for soname in libraries:
            self.copy(*self.packages.library(soname))
        asked = set(libraries)
        waiting = [program, *self.elf]
        self.elf.clear()
        while waiting:
            for soname in needed(waiting.pop()) - asked:
                asked.add(soname)
                self.copy(*self.packages.library(soname))
            waiting += self.elf
            self.elf.clear()
        # libc asks for the linker as a library; executables name a link to it, elsewhere.
        for link in ("usr/lib64/ld-linux*", "usr/lib/ld-linux*"):
            for package, path in self.packages.find(link):
                self.copy(package, path)

    def describe_packages(self) -> None:
        """Leave each package's copyright and its entry for scanners."""
        for name in sorted(self.used):
            folder = Path("usr/share/doc") / name
            source = self.packages.folders[name] / folder
            if source.is_symlink():  # Packages of one source may share another's documents.
                self.copy(name, source)
            else:
                self.add(f"{folder}/copyright")
        for name in sorted(self.used):
            control = self.packages.control[name]
            lines = "".join(f"{key}: {value}\n" for key, value in control.items())
            write(self.root / "var/lib/dpkg/status.d" / name, lines)


def run(*command: str) -> str:
    """Run a command and return what it printed; its failure ends the build with its complaint."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"rootfs: {command[0]} failed:\n{result.stderr.strip()}")
    return result.stdout


def parse_control(text: str) -> dict[str, str]:
    """The fields of a package; continuation lines stay with their field."""
    fields: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if line[:1].isspace():
            fields[key] += "\n" + line
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return fields


def fetch(wanted: list[str], folder: Path) -> None:
    """Fetch packages and all that they depend on, as for a machine that has none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "partial").mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile() as status:
        run(
            "apt-get", "install", "--download-only", "--yes", "--no-install-recommends",
            "-o", f"Dir::State::status={status.name}",
            "-o", f"Dir::Cache::archives={folder.resolve()}",
            "-o", "APT::Sandbox::User=",
            # The folder is this build's own; the machine's locks, which need root, guard others.
            "-o", "Debug::NoLocking=1",
            *wanted,
        )  # fmt: skip
    (folder / "partial").rmdir()


def is_elf(path: Path) -> bool:
    """Whether a file is an executable or a library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def needed(path: Path) -> set[str]:
    """The libraries that a file asks the linker for."""
    lines = run("objdump", "--private-headers", str(path)).splitlines()
    return {line.split()[1] for line in lines if line.split()[:1] == ["NEEDED"]}


def write(path: Path, text: str) -> None:
    """Write a file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_settings(root: Path) -> None:
    """What programs expect in /etc and /tmp: the user, name resolution, certificates' place."""
    write(
        root / "etc/passwd",
        "root:x:0:0:root:/root:/sbin/nologin\n"
        f"maestro:x:{USER}:{USER}:maestro:/tmp:/sbin/nologin\n",
    )
    write(root / "etc/group", f"root:x:0:\nmaestro:x:{USER}:\n")
    write(root / "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    (root / "tmp").mkdir(parents=True)
    for link, target in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
        (root / target).mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(target)


def bundle_certificates(root: Root) -> None:
    """The authorities in one file, as the package's own script would write it."""
    found = root.packages.find("usr/share/ca-certificates/mozilla/*.crt")
    if not found:
        raise SystemExit("rootfs: ca-certificates holds no certificate")
    root.used.add("ca-certificates")
    bundle = "".join(path.read_text() for _, path in found)
    write(root.root / "etc/ssl/certs/ca-certificates.crt", bundle)
    # OpenSSL looks here; the link is in a package with a shell script, so it is made anew.
    (root.root / "usr/lib/ssl").mkdir()
    (root.root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")


def set_modes(tree: Path) -> None:
    """Give files and folders the modes that do not depend on the builder's umask."""
    for folder, _, files in os.walk(tree):
        os.chmod(folder, 0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def main() -> None:
    """Parse the command line and lay out the trees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("service")
    parser.add_argument("--variant", help="a variant of the service, such as vulkan")
    parser.add_argument("--binaries", type=Path, required=True, help="folder of the executables")
    parser.add_argument("--packages", type=Path, required=True, help="folder of .deb files")
    parser.add_argument("--frozen", action="store_true", help="fetch nothing into --packages")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument("--epoch", type=int, required=True, help="the build's time, Unix seconds")
    arguments = parser.parse_args()

    contents = Contents.read(arguments.service, arguments.variant)
    program = arguments.binaries / contents.program
    if not program.is_file():
        raise SystemExit(f"rootfs: there is no {program}; build it first (make release)")
    if not arguments.frozen:
        fetch(contents.packages, arguments.packages)
    output: Path = arguments.output
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        debs = sorted(arguments.packages.glob("*.deb"))
        packages = Packages(debs, Path(scratch))
        root = Root(output / "system", packages, contents.exclude)
        write_settings(root.root)
        for pattern in contents.executables + contents.trees:
            root.add(pattern)
        bundle_certificates(root)
        root.close(program, contents.libraries)
        root.describe_packages()

    own = output / "program"
    (own / "usr/bin").mkdir(parents=True)
    shutil.copyfile(program, own / "usr/bin" / contents.program)
    (own / "usr/bin" / contents.program).chmod(0o755)
    for name in ("LICENSE-APACHE", "LICENSE-MIT", "NOTICE"):
        target = own / "usr/share/doc/maestro" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE.parent / name, target)
    package = "maestro-cli" if contents.program == "maestro" else contents.program
    document = sbom.document(
        package,
        lock=HERE.parent / "Cargo.lock",
        program=program,
        debian=[packages.control[name] for name in sorted(root.used)],
        epoch=arguments.epoch,
    )
    write(own / f"usr/share/sbom/{contents.program}.cdx.json", document)
    set_modes(output)
    (output / "system/tmp").chmod(0o1777)
    for name in contents.writable:
        (output / "writable" / name).mkdir(parents=True)


if __name__ == "__main__":
    main()
