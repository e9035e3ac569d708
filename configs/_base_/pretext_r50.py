# Which transformation was applied? A classifier on ResNet-50; the task is the config's.
model = dict(
    type='viewplug.Pretext',
    backbone=dict(type='mmpretrain.ResNet', depth=50, norm_cfg=dict(type='BN'), zero_init_residual=False),
)

# What --demo makes of it beside the small network: scenes whose objects stand upright, all lengths over `shrink`.
demo = dict(
    shrink=7,
    view_size=40,
    scenes=dict(image_size=40, upright=True),
    model=dict(backbone=dict(strides=(2, 2, 2))),
    optim_wrapper=dict(optimizer=dict(_delete_=True, type='Adam', lr=1e-3, weight_decay=1e-4)),
)
