#!/usr/bin/env bash
# Builds the binary for a machine with a GPU where nothing can be built: target/gpu/add, stripped.
# The features are those of its first argument, `cuda` unless told otherwise. On two cores this takes three quarters of an hour.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo xtask --features "${1:-cuda}" dist
mkdir -p target/gpu
cp target/dist/add target/gpu/add
ls -l target/gpu/add
echo "Take the repository and target/gpu/add to the machine with the GPU, and run xtask/gpu/check.sh there."
