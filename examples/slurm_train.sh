#!/usr/bin/env bash
# Training on several nodes under SLURM:  sbatch examples/slurm_train.sh --preset base --epochs 30
# One torchrun a node; they meet at the first node. Every word behind the script's name goes to `lsvit-train run`.
# A lost process restarts all of them from the last checkpoint (--resume, --checkpoint-every), MAX_RESTARTS times;
# a requeued job continues as well. Shards, manifests and runs lie on a file system that all nodes share.
#SBATCH --job-name=lsvit-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=train-%j.log
set -euo pipefail

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
# After a restart each process reads the first one's new address, not the old one (torch issue 135712).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# On nodes with several networks name the fast one:
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0

first_node="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
srun torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${PROCESSES_PER_NODE:-4}" \
    --rdzv-backend c10d --rdzv-endpoint "$first_node:${PORT:-29500}" --rdzv-id "$SLURM_JOB_ID" \
    --max-restarts "${MAX_RESTARTS:-3}" \
    --no-python lsvit-train run --resume --checkpoint-every "${CHECKPOINT_EVERY:-200}" "$@"
