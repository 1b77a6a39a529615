#!/usr/bin/env bash
# Installs what is missing for one purpose, and does nothing when all is there:
#
#   scripts/setup.sh build   to compile
#   scripts/setup.sh demo    to build and run the demonstration
#   scripts/setup.sh test    to build and run the tests
#   scripts/setup.sh lint    to run the linters
#   scripts/setup.sh chart   to check the Helm chart
#
# System packages come by apt-get (as root or through sudo), cargo tools by `cargo install`, Python
# packages into .cache/venv, buf into .cache/bin. Rust itself must be there.
set -euo pipefail

readonly NEXTEST_VERSION=0.9.143
readonly DENY_VERSION=0.20.2
readonly BUF_VERSION=1.75.0

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly CACHE=$PWD/.cache

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# install_packages PACKAGE…: those of them that dpkg does not have.
install_packages() {
    local package missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] \
            || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "install by hand, as there is no apt-get: ${missing[*]}"
    local as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "as root, run: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# What compiling the workspace needs. A C compiler may come from elsewhere than Debian.
install_build_tools() {
    command -v cargo >/dev/null || die "install Rust first: cargo is not on the PATH"
    local packages=(protobuf-compiler libprotobuf-dev)
    command -v cc >/dev/null || packages+=(build-essential)
    install_packages "${packages[@]}"
}

find_python() {
    local candidate
    for candidate in python3.11 python3 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "install Python 3.10 or later"
}

# install_python_packages VENV REQUIREMENTS: a virtual environment in .cache, made again when the
# requirements change.
install_python_packages() {
    local venv=$CACHE/$1 wanted=$2
    cmp -s "$wanted" "$venv/installed.txt" && return
    local python
    python=$(find_python)
    "$python" -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    say "installing Python packages into .cache/$1"
    "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --only-binary :all: --requirement "$wanted"
    cp "$wanted" "$venv/installed.txt"
}

# install_cargo_tool SUBCOMMAND VERSION: any version that is there will do.
install_cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 && return
    say "building cargo-$1 $2 (some minutes)"
    cargo install --locked --version "$2" "cargo-$1"
}

# buf is a single binary inside a package of the npm registry, pinned by its digest.
install_buf() {
    local buf=$CACHE/bin/buf-$BUF_VERSION architecture digest
    [[ -x $buf ]] && return
    case $(uname -m) in
        x86_64)
            architecture=x64
            digest=606189031d25a4c084eda3168cd38971fa04686fdefa26079d30b8499d0fe5e4b821f7ccaf203d678fdb6f59b5c0d5c0109f004c530464e024ff9c7d544e3b8a
            ;;
        aarch64)
            architecture=aarch64
            digest=797f97ca8933243aac348168f1bd4edc306f6e792c3a8ccf257e1056c367eb526a494b56b29c9335e62ac20f254436a770c2fe6c3a9910314f0018c0b1509019
            ;;
        *) die "there is no buf for $(uname -m)" ;;
    esac
    command -v npm >/dev/null || install_packages npm
    say "fetching buf $BUF_VERSION"
    local scratch=$CACHE/buf-download archive
    rm -rf "$scratch"
    mkdir "$scratch"
    archive=$(cd "$scratch" && npm pack --silent "@bufbuild/buf-linux-$architecture@$BUF_VERSION")
    echo "$digest  $scratch/$archive" | sha512sum --check --quiet
    tar -xzf "$scratch/$archive" -C "$scratch" package/bin/buf
    mkdir -p "$CACHE/bin"
    mv "$scratch/package/bin/buf" "$buf"
    rm -r "$scratch"
}

main() {
    mkdir -p "$CACHE"
    # Two make targets at once must not install the same thing twice.
    exec 9>"$CACHE/setup.lock"
    flock 9
    case ${1-} in
        build)
            install_build_tools
            ;;
        demo)
            install_build_tools
            install_packages tesseract-ocr tesseract-ocr-eng
            install_python_packages venv scripts/requirements.txt
            ;;
        test)
            install_build_tools
            install_packages tesseract-ocr tesseract-ocr-eng etcd-server etcd-client \
                iproute2 nftables libfaketime
            install_python_packages venv scripts/requirements.txt
            install_cargo_tool nextest "$NEXTEST_VERSION"
            ;;
        lint)
            install_build_tools
            install_cargo_tool deny "$DENY_VERSION"
            install_buf
            # The Makefile calls it by this name.
            ln -sf "buf-$BUF_VERSION" "$CACHE/bin/buf"
            ;;
        chart)
            install_packages prometheus
            install_python_packages chart helm/tests/requirements.txt
            ;;
        *) die "usage: scripts/setup.sh build|demo|test|lint|chart" ;;
    esac
}

main "$@"
