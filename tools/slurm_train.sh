#!/usr/bin/env bash
# tools/slurm_train.sh PARTITION JOB_NAME CONFIG [ARGS...]      ARGS are those of tools/train.py
# GPUS (default 8), GPUS_PER_NODE (8), CPUS_PER_TASK (8) and SRUN_ARGS come from the environment.
set -euo pipefail

if [[ $# -lt 3 ]]; then
  sed -n '2,3s/^# *//p' "$0" >&2
  exit 2
fi
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
if (( gpus < per_node )); then per_node=$gpus; fi

# shellcheck disable=SC2086  # SRUN_ARGS are several words on purpose
exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
  --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
  "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
