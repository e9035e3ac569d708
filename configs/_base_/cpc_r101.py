# CPC v1 on the first three stages of ResNet-101 (arXiv:1807.03748, sec. 3.3): rows are predicted from the rows above.
# OUR CHOICE: batch norm, up to the step LN of version 2's ladder. The paper has none, on a pre-activation ResNet.
model = dict(
    type='viewplug.CPC',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=101,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        norm_cfg=dict(type='BN'),
    ),
    directions=('down',),
    context=dict(type='viewplug.MaskedConvContext', hidden_channels=256, num_layers=5),
    head=dict(
        type='viewplug.CPCHead',
        offsets=(1, 2, 3, 4, 5),
        loss=dict(type='viewplug.InfoNCELoss', temperature=1.0),
    ),
)

# What --demo makes of it beside the small network: all lengths over `shrink`, 6 x 6 patches of 8 pixels.
demo = dict(
    shrink=8.5,
    view_size=36,
    scenes=dict(image_size=36),
    model=dict(
        backbone=dict(strides=(2, 2, 2)),
        context=dict(hidden_channels=64, num_layers=3),
        head=dict(offsets=(2, 3), target_dim=64, normalize=True, loss=dict(temperature=0.1)),
    ),
    optim_wrapper=dict(optimizer=dict(lr=1e-3, weight_decay=1e-4)),
)
