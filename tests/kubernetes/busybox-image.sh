#!/usr/bin/env bash
# Makes an image of busybox, with which docs/backup.md restores, for tests on clusters that reach no
# image registry, from Debian's package busybox-static.
#
#   tests/kubernetes/busybox-image.sh OUTPUT.tar
set -euo pipefail

output=$(realpath -m "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$scratch" && apt-get --quiet=2 --option APT::Sandbox::User="$(id --user --name)" download busybox-static \
    && dpkg-deb --extract ./*.deb package)
mkdir -p "$scratch/root/bin" "$scratch/root/tmp"
install -m 755 "$scratch/package/bin/busybox" "$scratch/root/bin"
for name in $("$scratch/root/bin/busybox" --list); do
    [[ $name == busybox ]] || ln -s busybox "$scratch/root/bin/$name"
done
container=$(buildah --isolation chroot from scratch)
buildah copy --quiet "$container" "$scratch/root" / >/dev/null
buildah config --env PATH=/bin --cmd sh "$container"
buildah commit --quiet --rm "$container" localhost/busybox:test >/dev/null
rm -f "$output"
buildah push --quiet localhost/busybox:test "docker-archive:$output:localhost/busybox:test"
