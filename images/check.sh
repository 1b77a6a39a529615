#!/usr/bin/env bash
# Checks archives that build.sh made: how they are configured, what is absent from them, and that
# each starts as its own user, without capabilities, on a root that cannot be written to.
#
#   images/check.sh [DIR]     DIR holds NAME.tar and NAME.cdx.json (default: target/images)
#
# Needs podman, runc and python3, and to be root (or to have subordinate ids). CONTAINERS_CONF is
# passed on.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(cd "${1:-${HERE%/*}/target/images}" && pwd)
scratch=$(mktemp -d)
failures=0

pod() {
    podman --root "$scratch/storage" --runroot "$scratch/run" --storage-driver vfs \
        --runtime runc --cgroup-manager cgroupfs --log-level error "$@"
}

cleanup() {
    pod rm --all --force >/dev/null 2>&1 || true
    rm -rf "$scratch" 2>/dev/null || podman unshare rm -rf "$scratch"
}
trap cleanup EXIT

# run IMAGE [--entrypoint PROGRAM] -- ARGUMENT…
run() {
    local image=$1 options=()
    shift
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift
    pod run --rm --read-only --read-only-tmpfs=false --network none --cap-drop all \
        --security-opt no-new-privileges "${options[@]}" "$image" "$@"
}

# expect NAME WHAT CONDITION…: the condition is a command that must succeed.
expect() {
    local name=$1 what=$2
    shift 2
    if "$@" >"$scratch/output" 2>&1; then
        printf 'ok      %s: %s\n' "$name" "$what"
    else
        printf 'FAILED  %s: %s\n' "$name" "$what"
        sed 's/^/        /' "$scratch/output"
        failures=$((failures + 1))
    fi
}

# Fails cleanly: a small exit status and a message, not a signal, a panic or success.
fails_cleanly() {
    local status=0
    "$@" >"$scratch/failure" 2>&1 || status=$?
    cat "$scratch/failure"
    ((status > 0 && status < 100)) && [[ -s $scratch/failure ]] \
        && ! grep -qE 'panicked|unexpected argument' "$scratch/failure"
}

configured() {
    pod image inspect "$1" | python3 -c '
import json, sys
config = json.load(sys.stdin)[0]["Config"]
assert config["User"] == "65532:65532", config["User"]
labels = config["Labels"]
for name in "title description version revision created licenses vendor".split():
    assert labels.get(f"org.opencontainers.image.{name}"), name'
}

# Shells, package managers and anything that runs with its owner'\''s rights have no place here.
is_bare() {
    python3 - "$1" <<'PYTHON'
import json, re, sys, tarfile
banned = re.compile(r"(^|/)(sh|bash|dash|busybox|apt(-get)?|dpkg|su|mount|perl)$")
with tarfile.open(sys.argv[1]) as image:
    for layer in json.load(image.extractfile("manifest.json"))[0]["Layers"]:
        with tarfile.open(fileobj=image.extractfile(layer)) as files:
            for file in files:
                assert not (banned.search(file.name) and not file.isdir()), file.name
                assert not file.mode & 0o6000, f"{file.name} is set-id"
                assert not file.mode & 0o002 or file.issym() or file.name == "tmp", file.name
                assert file.uid in (0, 65532), f"{file.name} belongs to {file.uid}"
PYTHON
}

same_sbom() {
    local container
    container=$(pod create "$1") && pod cp "$container:/usr/share/sbom" "$scratch/sbom" \
        && cmp "$scratch"/sbom/*.cdx.json "$2" && pod rm "$container" && rm -r "$scratch/sbom"
}

readonly PYTHON_CHECK='
import ctypes, decimal, hashlib, json, os, sqlite3, ssl, statistics, subprocess, zoneinfo
assert os.getuid() == 65532 and os.getgid() == 65532
zoneinfo.ZoneInfo("Europe/Zurich")
assert len(ssl.create_default_context().get_ca_certs()) > 100
for attempt in (lambda: open("/usr/x", "w"), lambda: subprocess.run("true", shell=True)):
    try:
        attempt()
    except OSError:
        continue
    raise SystemExit("the root can be written to, or there is a shell")'

check() {
    local archive=$1 name image service
    name=$(basename "$archive" .tar)
    # "Loaded image: NAME", with commas between the names if an archive has several.
    image=$(pod load --quiet --input "$archive" | sed -n '$s/.*[ ,]//p')
    service=${name%-vulkan}
    expect "$name" 'user and labels' configured "$image"
    expect "$name" 'no shell, nothing set-id, owned by root' is_bare "$archive"
    expect "$name" 'SBOM inside and beside are one' same_sbom "$image" "$folder/$name.cdx.json"
    expect "$name" '--help' run "$image" -- --help
    case $service in
        cli) ;;
        *) expect "$name" 'health fails cleanly where nothing serves' \
            fails_cleanly run "$image" -- health ;;
    esac
    case $service in
        expert-worker)
            expect "$name" 'tesseract has its languages' \
                run "$image" --entrypoint /usr/bin/tesseract -- --list-langs
            ;;
        skill-runner)
            expect "$name" 'python runs as the user, without a shell' \
                run "$image" --entrypoint /usr/bin/python3 -- -c "$PYTHON_CHECK"
            ;;
    esac
    pod rmi --force "$image" >/dev/null
}

archives=("$folder"/*.tar)
[[ -e ${archives[0]} ]] || { echo "check: no archive in $folder" >&2; exit 1; }
for archive in "${archives[@]}"; do
    check "$archive"
done
((failures == 0)) || { echo "$failures checks failed" >&2; exit 1; }
