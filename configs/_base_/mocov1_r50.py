# MoCo v1 on ResNet-50 (arXiv:1911.05722): linear projection, T 0.07.
_base_ = './moco_r50.py'

model = dict(
    branches=dict(
        image=dict(
            neck=dict(_delete_=True, type='viewplug.MLPNeck', out_channels=128, num_layers=1),
            head=dict(loss=dict(temperature=0.07)),
        )
    ),
)
