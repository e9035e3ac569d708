#!/usr/bin/env bash
# The real-input evidence of README: ResNet-18, MoCo v2, Fashion-MNIST, one epoch on two cores, kNN every 40 steps.
#   benchmarks/fashion_mnist.sh            about half an hour; needs `apt install dataset-fashion-mnist` or the network
set -euo pipefail
cd "$(dirname "$0")/.."
out=work_dirs/fashion_mnist_evidence
"${PYTHON:-.venv/bin/python}" tools/train.py configs/fashion_mnist/mocov2_r18.py --work-dir "$out" --epochs 1 --cfg-options \
  train_dataloader.batch_size=128 default_hooks.logger.interval=10 \
  custom_hooks.5.by_epoch=False custom_hooks.5.interval=100 \
  custom_hooks.5.train_dataloader.dataset.indices=5000 custom_hooks.5.val_dataloader.dataset.indices=2000
