# CPC v1, ResNet-101 (three stages), Adam at 2e-4, batch 512 (arXiv:1807.03748, sec. 3.3). Fig. 3 of v2 starts here.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/cpc_r101.py',
    '../_base_/patches_cpc.py',
    '../_base_/adam_200e.py',
]
