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

# The steps: what they are called, and the arguments of `add`.
adapters=(plan configs/add-m-24gb.ron --rehearse --set batch=4 --set gradient_accumulation=1)
main=(plan configs/emoji.ron --rehearse)
steps=("main job in f32" "main job in bf16" "ADD-M by adapters, 512 px" "a picture")
arguments() {
    case $1 in
        "main job in f32") echo "${main[@]}" ;;
        "main job in bf16") echo "${main[@]}" --set "dtype=(model:BF16,teacher:BF16,features:BF16)" ;;
        "ADD-M by adapters, 512 px") echo "${adapters[@]}" ;;
        "a picture") echo sample configs/emoji.ron --prompt apple --out "$out/pictures" --overwrite ;;
    esac
}

failed=0
printf '| GPU | step | new kernels | refused by NVRTC | refused by ptxas | s |\n|---|---|---:|---:|---:|---:|\n' | tee "$out/table.md"
[ $# -gt 0 ] || set -- 80 90 100
for architecture in "$@"; do
    # A kernel that an earlier step of this call compiled is not compiled again.
    rm -rf "$out/sm_$architecture"
    for step in "${steps[@]}"; do
        folder="$out/sm_$architecture/${step//[ ,]/-}"
        rm -rf "$folder" && mkdir -p "$folder"
        began=$SECONDS
        # shellcheck disable=SC2046 # no argument has a space
        env LD_LIBRARY_PATH="$out/lib" ARCHITECTURE="$architecture" PTX_FOLDER="$folder" XDG_CACHE_HOME="$out/sm_$architecture/cache" \
            "$ADD" $(arguments "$step") --set "device=Cuda(0)" >"$folder/said.txt" 2>&1 || echo "$step: see $folder/said.txt" >&2
        target=sm_$architecture
        [ "$architecture" -lt 90 ] || target+=a
        find "$folder" -maxdepth 1 -name '*.ptx' -print0 |
            xargs -0 -r -P "$(nproc)" -I{} sh -c '"$0" -arch="$1" -o /dev/null "$2" >"$2.said" 2>&1 || mv "$2.said" "$2.failed"' \
                "$CUDA_PATH/bin/ptxas" "$target" {}
        count() { find "$folder" -maxdepth 1 -name "$1" | wc -l; }
        [ "$(count '*.refused')" = 0 ] && [ "$(count '*.failed')" = 0 ] && [ "$(count '*.ptx')" != 0 ] || failed=1
        printf '| sm_%s | %s | %s | %s | %s | %s |\n' "$architecture" "$step" "$(count '*.ptx')" "$(count '*.refused')" \
            "$(count '*.failed')" $((SECONDS - began)) | tee -a "$out/table.md"
    done
done
exit $failed
