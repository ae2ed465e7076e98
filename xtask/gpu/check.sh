#!/usr/bin/env bash
# What is to be known of a machine with a GPU: its devices, and the table of `add gpu-check`. No compiler is needed there.
#   xtask/gpu/check.sh [DEVICE [BINARY]]      as in `xtask/gpu/check.sh 'Cuda(0)' target/gpu/add`
# Everything lands in the folder $OUT (gpu-check unless set): table.md, devices.json, and what every process said. A call that
# was cut short goes on where it ended. Keep the table in crates/README.md.
set -uo pipefail
cd "$(dirname "$0")/../.."
device=${1:-Cuda(0)}
add=${2:-target/gpu/add}
out=${OUT:-gpu-check}
[ -x "$add" ] || { echo "$add: expected the binary that xtask/gpu/prepare.sh makes" >&2; exit 2; }
mkdir -p "$out"
{ date --utc; uname -a; nvidia-smi 2>&1; } >"$out/machine.txt"
"$add" devices --json >"$out/devices.json" 2>"$out/devices-said.txt"
"$add" devices
"$add" gpu-check --device "$device" --keep "$out/results" --out "$out/table.md" "${@:3}" 2>&1 | tee -a "$out/log.txt"
exit "${PIPESTATUS[0]}"
