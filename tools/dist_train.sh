#!/usr/bin/env bash
# Several processes on one or more machines, through torchrun.
#
#   tools/dist_train.sh 8                       configs/mocov2_hcl_r50.py on 8 GPUs
#   tools/dist_train.sh CONFIG 8 [ARGS...]      ARGS are those of tools/train.py
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh CONFIG 8
set -euo pipefail

if [[ ${1:-} =~ ^[0-9]+$ ]]; then
  set -- configs/mocov2_hcl_r50.py "$@"
fi
if [[ $# -lt 2 || ! $2 =~ ^[0-9]+$ ]]; then
  sed -n '4,7s/^# *//p' "$0" >&2
  exit 2
fi
config=$1 gpus=$2
shift 2

exec "${PYTHON:-python}" -m torch.distributed.run \
  --nnodes="${NNODES:-1}" \
  --node_rank="${NODE_RANK:-0}" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" \
  --master_port="${PORT:-29500}" \
  --nproc_per_node="$gpus" \
  "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
