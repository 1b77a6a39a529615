#!/usr/bin/env bash
# Builds Maestro's images with buildah, which needs neither an engine nor, with subordinate ids,
# root:
#
#   images/build.sh [--binaries DIR] [--output DIR] [--packages DIR] [--variant NAME] [SERVICE…]
#
#   --binaries DIR   release builds of the programs, made on Debian 12 (default: target/release)
#   --output DIR     where NAME.tar, NAME.cdx.json and the packages go (default: target/images)
#   --packages DIR   build from the .deb files in DIR/NAME and fetch none: the `packages` folder of
#                    an earlier build repeats it to the byte
#   --variant NAME   a variant of one service: `--variant vulkan policy-worker`
#   SERVICE          coordinator, policy-worker, expert-worker, skill-runner, cli (default: all)
#
# Each archive is one that `docker load`, `podman load`, `skopeo copy docker-archive:…` and
# `ctr images import` take. SOURCE_DATE_EPOCH is the time that everything carries (default: that of
# the commit), SOURCE_REVISION the commit itself, IMAGE_PREFIX what stands before the service in an
# image's name (default: localhost/maestro-), IMAGE_TAG what follows it (default: the workspace's version),
# IMAGE_SOURCE the address of the sources, for the label of that name (default: none).
set -euo pipefail
shopt -s nullglob

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
readonly REPOSITORY=${HERE%/*}
readonly SERVICES=(coordinator policy-worker expert-worker skill-runner cli)
readonly USER_ID=65532

say() { printf 'images: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

parse_arguments() {
    binaries=$REPOSITORY/target/release output=$REPOSITORY/target/images
    packages='' variant='' services=()
    while (($#)); do
        case $1 in
            --binaries | --output | --packages | --variant)
                (($# > 1)) || die "$1 needs a value"
                printf -v "${1#--}" '%s' "$2"
                shift
                ;;
            --help | -h) usage; exit ;;
            -*) die "there is no option $1" ;;
            *) services+=("$1") ;;
        esac
        shift
    done
    ((${#services[@]})) || services=("${SERVICES[@]}")
    [[ -z $variant || ${#services[@]} == 1 ]] || die '--variant needs the one service it is of'
    mkdir -p "$output"
    output=$(cd "$output" && pwd)
}

# The time and the commit, from the environment or from git.
find_origin() {
    local git=(git -C "$REPOSITORY")
    epoch=${SOURCE_DATE_EPOCH:-$("${git[@]}" log -1 --format=%ct 2>/dev/null)} \
        || die 'set SOURCE_DATE_EPOCH: this is no git checkout'
    revision=${SOURCE_REVISION:-$("${git[@]}" rev-parse HEAD 2>/dev/null)} || revision=unknown
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' \
        "$REPOSITORY/Cargo.toml")
}

require() {
    local tool missing=()
    for tool in apt-get buildah dpkg-deb objdump python3; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) \
        || die "missing ${missing[*]}: apt-get install buildah binutils dpkg python3"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die 'Python 3.11 is needed'
}

# A key of a service's table in contents.toml.
content() {
    python3 -c 'import sys, tomllib
print(tomllib.load(open(sys.argv[1], "rb"))["services"][sys.argv[2]][sys.argv[3]])' \
        "$HERE/contents.toml" "$1" "$2" 2>/dev/null || die "there is no service $1"
}

# Storage of this build alone: it neither needs nor changes the user's images.
bud() {
    buildah --root "$scratch/storage" --runroot "$scratch/run" --storage-driver vfs "$@"
}

# layer FROM TREE…: commits the trees on top of FROM and prints the image. `--timestamp` gives every
# file and the image the same time, so that nothing of when it was built is in it.
layer() {
    local from=$1 container
    shift
    container=$(bud from "$from")
    while (($#)); do
        bud copy --quiet --chown "$2" "$container" "$1" / >/dev/null
        shift 2
    done
    if [[ $from != scratch ]]; then
        configure "$container"
    fi
    bud commit --quiet --timestamp "$epoch" --rm "$container"
}

configure() {
    local label=org.opencontainers.image
    bud config --user "$USER_ID:$USER_ID" --workingdir / --stop-signal SIGTERM \
        --entrypoint "[\"/usr/bin/$program\"]" --cmd '' \
        --env PATH=/usr/bin \
        --label "$label.title=$(content "$service" title)" \
        --label "$label.description=$(content "$service" description)" \
        --label "$label.version=$version" --label "$label.revision=$revision" \
        --label "$label.created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" \
        --label "$label.licenses=MIT OR Apache-2.0" \
        --label "$label.vendor=Maestro" ${IMAGE_SOURCE:+--label "$label.source=$IMAGE_SOURCE"} "$1"
    if [[ $service == skill-runner ]]; then
        bud config --env PYTHONDONTWRITEBYTECODE=1 "$1" # The root cannot be written to.
    fi
}

build() {
    service=$1
    program=$(content "$service" program)
    local name=$service${variant:+-$variant} image=${IMAGE_PREFIX-localhost/maestro-}$1 fetch=()
    local tag=${IMAGE_TAG:-$version}${variant:+-$variant} trees=$scratch/$service debs base top
    if [[ $packages ]]; then
        debs=$packages/$name fetch=(--frozen)
    else
        debs=$output/packages/$name
        rm -rf "$debs" # Only what this build holds may lie there.
    fi
    python3 "$HERE/rootfs.py" "$service" ${variant:+--variant "$variant"} --epoch "$epoch" \
        --binaries "$binaries" --packages "$debs" "${fetch[@]}" --output "$trees"
    base=$(layer scratch "$trees/system" 0:0)
    local own=("$trees/program" 0:0)
    if [[ -d $trees/writable ]]; then
        own+=("$trees/writable" "$USER_ID:$USER_ID")
    fi
    top=$(layer "$base" "${own[@]}")
    rm -f "$output/$name.tar"
    bud push --quiet "$top" "docker-archive:$output/$name.tar:$image:$tag"
    cp "$trees/program/usr/share/sbom/$program.cdx.json" "$output/$name.cdx.json"
    say "$name: $image:$tag, $(($(stat -c %s "$output/$name.tar") >> 20)) MiB, image $top"
}

main() {
    parse_arguments "$@"
    require
    find_origin
    # Removing it needs the user namespace that made it, where there was one.
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch" 2>/dev/null || buildah unshare rm -rf "$scratch"' EXIT
    export BUILDAH_ISOLATION=chroot TZ=UTC LC_ALL=C.UTF-8
    umask 022
    local each
    for each in "${services[@]}"; do
        build "$each"
    done
}

main "$@"
