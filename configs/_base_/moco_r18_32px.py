# MoCo v2 for small images: ResNet-18 with a 3 x 3 stem and no max-pool, a queue well under the data set.
_base_ = './moco_r50.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.ResNet_CIFAR', depth=18, out_indices=(0, 1, 2, 3)),
    target=dict(momentum=0.99, shuffle_bn=False, eman=True),  # one GPU has nobody to shuffle with
    branches=dict(
        image=dict(
            neck=dict(hidden_channels=512),
            head=dict(queue_len=4096, start='empty', loss=dict(temperature=0.1)),
        )
    ),
)
