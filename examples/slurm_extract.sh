#!/usr/bin/env bash
# Extraction as a SLURM array:  sbatch examples/slurm_extract.sh
# VIDEOS, SHARDS and MANIFESTS lie on a file system that all nodes share. Tasks may run in any order, fail and be sent
# again: `sbatch --array=3 examples/slurm_extract.sh` repeats one of them.
#SBATCH --job-name=hmdb-extract
#SBATCH --array=0-7
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=extract-%A_%a.log
set -euo pipefail

# Not $SLURM_ARRAY_TASK_COUNT: that is 1 when a single task is repeated.
NUM_TASKS="${NUM_TASKS:-8}"
VIDEOS="${VIDEOS:-data/videos}"
SHARDS="${SHARDS:-data/shards}"
MANIFESTS="${MANIFESTS:-data_manifests}"

# Further options of `hmdb-prep extract` go behind the script's name, the same for every task.
hmdb-prep extract "$@" \
    --videos "$VIDEOS" --shards "$SHARDS" --manifests "$MANIFESTS" \
    --num-tasks "$NUM_TASKS" --task-id "$SLURM_ARRAY_TASK_ID" \
    --workers "${SLURM_CPUS_PER_TASK:-1}"
