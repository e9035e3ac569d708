# SimCLR on ResNet-50 (arXiv:2002.05709): NT-Xent over both views of all images, batch norm over both views together.
model = dict(
    type='viewplug.Siamese',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=50,
        norm_cfg=dict(type='BN'),
        zero_init_residual=True,
        out_indices=(0, 1, 2, 3),
    ),
    target=dict(type='viewplug.SharedTarget'),
    online_views=(0, 1),
    target_views=(0, 1),
    joint_views=True,
    branches=dict(
        image=dict(
            neck=dict(
                type='viewplug.MLPNeck',
                hidden_channels=2048,
                out_channels=128,
                num_layers=2,
                norm_cfg=dict(type='BN'),
                last_norm_cfg=dict(type='BN'),
                bias=False,
                last_bias=False,
            ),
            head=dict(type='viewplug.InBatchHead', loss=dict(type='viewplug.InfoNCELoss', temperature=0.1)),
        )
    ),
)
sync_bn = 'torch'  # batch norm over all GPUs
