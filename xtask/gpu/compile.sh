#!/usr/bin/env bash
# Compiles every CUDA kernel of this project's steps for GPUs that this machine does not have, and says which were refused.
#   xtask/gpu/compile.sh [ARCHITECTURE…]      80 90 100 unless told otherwise; MINUTES=30 leaves what is not done by then
# `hollow_driver.c` takes the place of NVIDIA's driver: it has memory and computes nothing, so runs go through CubeCL's CUDA path
# with the GPU's own choices of kernels, and writes down what NVRTC is asked for; every candidate of autotuning among it.
# `compile_kernels.py` then compiles that, on all cores; what it has done it does not do again. NVIDIA's compilers come from PyPI
# into the folder $OUT (cuda-kernels unless set), a few hundred megabytes; a C compiler and Python are needed. $ADD is a binary with
# the features `cuda` and `hollow`, which else is built here.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(realpath -m "${OUT:-cuda-kernels}")
mkdir -p "$out/lib"
cc -shared -fPIC -O1 -o "$out/lib/libhollow.so" xtask/gpu/hollow_driver.c
for name in libcuda.so libnvrtc.so; do ln -sf libhollow.so "$out/lib/$name"; done
if [ ! -e "$out/python/done" ]; then
    python3 -m venv "$out/python"
    "$out/python/bin/pip" -q install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-cccl nvidia-cuda-nvcc
    touch "$out/python/done"
fi
CUDA_PATH=$(echo "$out"/python/lib/python3*/site-packages/nvidia/cu13)
export CUDA_PATH
if [ -z "${ADD:-}" ]; then
    cargo build --release -p add-cli --features cuda,hollow
    ADD=target/release/add
fi

# step NAME ARGUMENTS…: writes down the kernels of `add` with these arguments. One of an earlier step is not written again.
step() {
    local name=$1 folder="$out/sm_$architecture"
    shift
    mkdir -p "$folder/kernels"
    # Of what an earlier step has chosen, this one would ask for the chosen kernel alone.
    rm -rf "$folder/cache"
    echo "sm_$architecture, $name" >&2
    env LD_LIBRARY_PATH="$out/lib" ARCHITECTURE="$architecture" KERNELS="$folder/kernels" STEP="$name" XDG_CACHE_HOME="$folder/cache" \
        "$ADD" "$@" --set "device=Cuda(0)" >"$folder/said.txt" 2>&1 ||
        # Where nothing is computed, a training step may end in what is no number: its kernels were all asked for.
        grep -q "was not finite" "$folder/said.txt" || { cat "$folder/said.txt" >&2; exit 1; }
}

[ $# -gt 0 ] || set -- 80 90 100
for architecture in "$@"; do
    step "main job in f32" plan configs/emoji.ron --rehearse
    step "main job in bf16" plan configs/emoji.ron --rehearse --set "dtype=(model: BF16, teacher: BF16, features: BF16)"
    step "ADD-M by adapters, 512 px" plan configs/add-m-24gb.ron --rehearse --set batch=4 --set gradient_accumulation=1
    step "a picture" sample configs/emoji.ron --prompt apple --out "$out/pictures" --overwrite
done
"$out/python/bin/python" xtask/gpu/compile_kernels.py --minutes "${MINUTES:-inf}" "${@/#/$out/sm_}" | tee "$out/table.md"
