#!/usr/bin/env bash
# Compiles the programs that the images hold. The same sources give the same bytes wherever they, the
# crates and the target folder lie, given the same compiler, linker and C library:
#
#   images/compile.sh [--gpu none|vulkan|cuda] DIR
#
# DIR gets the programs. --gpu is what the policy worker is built for (default: none). CARGO and
# CARGO_TARGET_DIR are as for cargo; a target folder of its own saves other builds from being redone.
set -euo pipefail

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }
die() { printf 'compile: %s\n' "$*" >&2; exit 2; }

gpu=none output=''
while (($#)); do
    case $1 in
        --gpu) gpu=${2:?--gpu needs a value}; shift ;;
        --help | -h) usage; exit ;;
        -*) die "there is no option $1" ;;
        *) output=$1 ;;
    esac
    shift
done
[[ -n $output ]] || { usage >&2; exit 2; }
case $gpu in
    none) ;;
    vulkan | cuda) features=(--package maestro-policy --features "maestro-policy/$gpu") ;;
    *) die "--gpu is none, vulkan or cuda, not $gpu" ;;
esac

mkdir -p "$output"
output=$(cd "$output" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-$PWD/target}")
cargo=("${CARGO:-cargo}" build --locked --release --bins --target-dir "$target")

# Paths get into programs by the messages of panics. The folder within another comes last: the last
# one that fits is taken.
separator=$'\x1f'
flags=''
for pair in "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$PWD=/maestro" "$target=/target"; do
    flags+=${flags:+$separator}--remap-path-prefix=$pair
done
export CARGO_ENCODED_RUSTFLAGS=$flags

if [[ $gpu == none ]]; then
    "${cargo[@]}" --workspace
else
    # The features of a GPU are for the policy worker alone.
    "${cargo[@]}" --workspace --exclude maestro-policy-worker
    "${cargo[@]}" --package maestro-policy-worker "${features[@]}"
fi
for program in maestro maestro-{coordinator,policy-worker,expert-worker,skill-runner}; do
    install -D -t "$output" "$target/release/$program"
done
