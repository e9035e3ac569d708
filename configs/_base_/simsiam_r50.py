# SimSiam on ResNet-50 (arXiv:2011.10566, sec. 3). Its predictor keeps a constant lr (sec. 4.2): a config that trains it
# adds predictor_lr_hook to its hooks and predictor_lr to its optim_wrapper's paramwise_cfg, see ../simsiam_r50.py.
model = dict(
    type='viewplug.Siamese',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=50,
        norm_cfg=dict(type='BN'),
        zero_init_residual=True,
        out_indices=(0, 1, 2, 3),
    ),
    target=dict(type='viewplug.StopGradTarget'),
    online_views=(0, 1),
    target_views=(0, 1),
    branches=dict(
        image=dict(
            neck=dict(
                type='viewplug.MLPNeck',
                hidden_channels=2048,
                out_channels=2048,
                num_layers=3,
                norm_cfg=dict(type='BN'),
                last_norm_cfg=dict(type='BN', affine=False),
                bias=False,
                last_bias=False,
                normalize=False,
            ),
            head=dict(
                type='viewplug.PredictHead',
                predictor=dict(
                    type='viewplug.MLPNeck',
                    hidden_channels=512,
                    num_layers=2,
                    norm_cfg=dict(type='BN'),
                    bias=False,
                    normalize=False,
                ),
                loss=dict(type='viewplug.CosineLoss'),
            ),
        )
    ),
)
sync_bn = 'torch'  # batch norm over all GPUs

predictor_lr = dict(custom_keys={'predictor': dict(fix_lr=True)})
predictor_lr_hook = dict(type='viewplug.ConstantLRHook')
