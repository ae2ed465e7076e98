#!/usr/bin/env bash
# Compiles every CUDA kernel of this project's steps for GPUs that this machine does not have, and says which were refused.
#   xtask/gpu/compile.sh [ARCHITECTURE…]      80 90 100 unless told otherwise
# `hollow_driver.c` takes the place of NVIDIA's driver: it has memory and computes nothing, so runs go through CubeCL's CUDA path
# with the GPU's own choices of kernels, and NVRTC compiles each. What it makes is compiled once more by ptxas, as a driver
# does. NVIDIA's compilers come from PyPI into the folder $OUT (cuda-kernels unless set), a few hundred megabytes; a C compiler
# and Python are needed. $ADD is a binary with the features `cuda` and `hollow`, which else is built here.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(realpath -m "${OUT:-cuda-kernels}")
mkdir -p "$out/lib"
cc -shared -fPIC -O1 -o "$out/lib/libhollow.so" xtask/gpu/hollow_driver.c -ldl
# NVRTC looks for libcuda.so.1, and asks it more than this one can answer.
for name in libcuda.so libnvrtc.so; do ln -sf libhollow.so "$out/lib/$name"; done
if [ ! -e "$out/python/done" ]; then
    python3 -m venv "$out/python"
    "$out/python/bin/pip" -q install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-cccl nvidia-cuda-nvcc
    touch "$out/python/done"
fi
CUDA_PATH=$(echo "$out"/python/lib/python3*/site-packages/nvidia/cu13)
RIGHT_NVRTC=$(echo "$CUDA_PATH"/lib/libnvrtc.so.*)
export CUDA_PATH RIGHT_NVRTC
if [ -z "${ADD:-}" ]; then
    cargo build --release -p add-cli --features cuda,hollow
    ADD=target/release/add
fi

failed=0
printf '| GPU | step | new kernels | refused by NVRTC | refused by ptxas | s |\n|---|---|---:|---:|---:|---:|\n' | tee "$out/table.md"

# step NAME ARGUMENTS…: what `add` compiles with these arguments. A kernel of an earlier step is not compiled again.
step() {
    local name=$1 folder="$out/sm_$architecture/${1//[ ,]/-}" began=$SECONDS target=sm_$architecture
    shift
    mkdir -p "$folder"
    env LD_LIBRARY_PATH="$out/lib" ARCHITECTURE="$architecture" PTX_FOLDER="$folder" XDG_CACHE_HOME="$out/sm_$architecture/cache" \
        "$ADD" "$@" --set "device=Cuda(0)" >"$folder/said.txt" 2>&1 || { echo "$name: see $folder/said.txt" >&2; failed=1; }
    [ "$architecture" -lt 90 ] || target+=a
    find "$folder" -maxdepth 1 -name '*.ptx' -print0 |
        xargs -0 -r -P "$(nproc)" -I{} sh -c '"$0" -arch="$1" -o /dev/null "$2" >"$2.said" 2>&1 || mv "$2.said" "$2.failed"' \
            "$CUDA_PATH/bin/ptxas" "$target" {}
    [ "$(count "$folder" '*.refused')" = 0 ] && [ "$(count "$folder" '*.failed')" = 0 ] || failed=1
    printf '| sm_%s | %s | %s | %s | %s | %s |\n' "$architecture" "$name" "$(count "$folder" '*.ptx')" \
        "$(count "$folder" '*.refused')" "$(count "$folder" '*.failed')" $((SECONDS - began)) | tee -a "$out/table.md"
}
# count FOLDER PATTERN: the files below it.
count() { find "$1" -name "$2" | wc -l; }

[ $# -gt 0 ] || set -- 80 90 100
for architecture in "$@"; do
    rm -rf "$out/sm_$architecture"
    step "main job in f32" plan configs/emoji.ron --rehearse
    step "main job in bf16" plan configs/emoji.ron --rehearse --set "dtype=(model: BF16, teacher: BF16, features: BF16)"
    step "ADD-M by adapters, 512 px" plan configs/add-m-24gb.ron --rehearse --set batch=4 --set gradient_accumulation=1
    step "a picture" sample configs/emoji.ron --prompt apple --out "$out/pictures" --overwrite
    [ "$(count "$out/sm_$architecture" '*.ptx')" != 0 ] || failed=1
done
exit $failed
