#!/usr/bin/env bash
# Compiles the CUDA C++ of every kernel of a training step and of a picture with NVRTC, for the architectures sm_80, sm_90 and
# sm_100, on a machine without a GPU: no_cuda.c takes the driver's place.
#   xtask/gpu/compile.sh BINARY CUDA      as in `xtask/gpu/compile.sh target/gpu/add ~/cuda`
# BINARY is `add` with the feature `cuda`; CUDA is a folder with include/ and lib/ of the CUDA toolkit, such as the PyPI packages
# nvidia-cuda-nvrtc-cu12, nvidia-cuda-runtime-cu12 and nvidia-cuda-cccl-cu12 unpack to. A kernel that NVRTC refuses is printed
# with the compiler's words, and the script fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
add=$1
cuda=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -shared -fPIC -O1 -o "$work/libcuda.so.1" xtask/gpu/no_cuda.c
ln -s libcuda.so.1 "$work/libcuda.so"
failed=0
for arch in 80 90 100; do
    export NO_CUDA_ARCH=$arch CUDA_PATH=$cuda LD_LIBRARY_PATH=$work:$cuda/lib ADD_UNTESTED_DEVICE=1 XDG_CACHE_HOME=$work/cache-$arch
    for bf16 in F32 BF16; do
        dtype="dtype=(model: $bf16, teacher: $bf16, codec: $bf16, features: $bf16)"
        log=$work/$arch-$bf16.log
        "$add" plan configs/emoji.ron --rehearse --set 'device=Cuda(0)' --set "$dtype" >"$log" 2>&1 || failed=1
        echo "sm_$arch, $bf16: $(grep -c 'Compilation Error' "$log" || true) kernels refused; $(tail -n 1 "$log")"
        grep -A 20 'Compilation Error' "$log" | head -n 40 || true
    done
done
exit "$failed"
