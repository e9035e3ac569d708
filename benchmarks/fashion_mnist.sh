#!/usr/bin/env bash
# The real-input evidence of README: ResNet-18 of WIDTH channels at its stem (64 is the usual one), MoCo v2,
# Fashion-MNIST, EPOCHS passes over IMAGES images, kNN (2,000 labelled images vote on 1,000) every INTERVAL steps.
#   benchmarks/fashion_mnist.sh [KEY=VALUE ...]      needs `apt install dataset-fashion-mnist` or the network
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" tools/train.py configs/fashion_mnist/mocov2_r18.py \
  --work-dir work_dirs/fashion_mnist_evidence --epochs "${EPOCHS:-3}" --cfg-options \
  views=device in_memory=True train_dataloader.batch_size=128 train_dataloader.dataset.indices="${IMAGES:-60000}" \
  model.backbone.stem_channels="${WIDTH:-16}" model.backbone.base_channels="${WIDTH:-16}" \
  model.branches.image.neck.hidden_channels=$((8 * ${WIDTH:-16})) \
  model.target.momentum=0.98 model.branches.image.head.queue_len=256 default_hooks.logger.interval=10 \
  custom_hooks.6.by_epoch=False custom_hooks.6.interval="${INTERVAL:-150}" custom_hooks.6.k=20 \
  custom_hooks.6.train_dataloader.dataset.indices=2000 custom_hooks.6.val_dataloader.dataset.indices=1000 "$@"
