# ReSim-FPN on MoCo v2, CIFAR-10: levels of stride 2 and 4 (16 x 16 and 8 x 8 positions).
_base_ = 'resim_c4_r18_cifar10.py'

model = dict(
    branches=dict(
        region=dict(
            neck=dict(stages=('P1', 'P2')),
            head=dict(window=(8, 12), stride=(6, 4), downsample=(2, 4), gather=(False, True)),
        )
    )
)
