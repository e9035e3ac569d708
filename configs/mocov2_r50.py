# MoCo v2, ResNet-50, 200 epochs at batch 256 (arXiv:2003.04297); the first stage of HCL.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/moco_r50.py',
    '_base_/views_mocov2.py',
    '_base_/sgd_200e.py',
    '_base_/in1k_labels.py',
]
