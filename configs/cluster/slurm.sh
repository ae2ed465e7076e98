#!/usr/bin/env bash
#SBATCH --job-name=add
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
# One rank for each GPU. `gradient_accumulation` is a multiple of the ranks, here 8.
#
# SIGTERM comes two minutes before the time is up: the step is finished, a checkpoint written, and the next submission of
# this script goes on from it.
set -euo pipefail

recipe=${1:-configs/add-m.ron}
accumulation=${2:-$SLURM_NTASKS}

# Each rank has the threads of its task, and sees one GPU, which is its number 0.
export RAYON_NUM_THREADS=$SLURM_CPUS_PER_TASK

# `srun --mpi=list` says what this cluster offers; Open MPI wants pmix.
exec srun --mpi=pmix --kill-on-bad-exit=1 --gpu-bind=single:1 \
    target/release/add train "$recipe" --resume auto --set "gradient_accumulation=$accumulation" --set "device=Cuda(0)"
