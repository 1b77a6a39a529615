#!/usr/bin/env bash
# Builds the workers of the release before this one, for the test that a coordinator of today serves
# with workers of yesterday:
#
#   scripts/previous.sh DIR
#
# DIR gets maestro-policy-worker, maestro-skill-runner and maestro-expert-worker. Nothing is built
# where they are there already. The release is the commit that tests/previous-release names. Build
# this clone afterwards: both share a target folder, and its programs of the same names are replaced.
set -euo pipefail

(($# == 1)) || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
workers=(maestro-policy-worker maestro-skill-runner maestro-expert-worker)
read -r tag commit <"$repository/tests/previous-release"
folder=$1/$tag-${commit:0:12}

is_complete() {
    local worker
    for worker in "${workers[@]}"; do
        [[ -x $folder/$worker ]] || return 1
    done
}

if ! is_complete; then
    git -C "$repository" cat-file -e "$commit^{commit}" 2>/dev/null || {
        echo "previous.sh: $tag ($commit) is not in this clone: git fetch --unshallow" >&2
        exit 1
    }
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/maestro-previous.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    mkdir -p "$scratch/source" "$folder"
    git -C "$repository" archive "$commit" | tar --extract --directory "$scratch/source"
    target=${CARGO_TARGET_DIR:-$repository/target}
    echo "previous.sh: building the workers of $tag" >&2
    # The whole workspace in the shared target folder, so that nearly all dependencies are compiled
    # once for both releases.
    (cd "$scratch/source" && CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0 \
        "${CARGO:-cargo}" build --locked --workspace --bins)
    for worker in "${workers[@]}"; do
        # Renamed into place, so that nobody finds half a program.
        cp "$target/debug/$worker" "$folder/.$worker.$$"
        mv "$folder/.$worker.$$" "$folder/$worker"
    done
fi
printf '%s\n' "$folder"
