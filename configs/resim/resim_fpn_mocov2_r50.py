# ReSim-FPN on MoCo v2, ResNet-50, IN-1K, 200 epochs at batch 256 (ReSim, sec. 4, Table 7).
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/moco_resim_fpn_r50.py',
    '../_base_/in1k_resim.py',
    '../_base_/sgd_200e.py',
]
