# Which transformation was applied? A classifier on ResNet-50; the task is the config's.
model = dict(
    type='viewplug.Pretext',
    backbone=dict(type='mmpretrain.ResNet', depth=50, norm_cfg=dict(type='BN'), zero_init_residual=False),
)
optim_wrapper = dict(optimizer=dict(lr=0.1))

# What --demo makes of it beside the small network: scenes whose objects stand upright, lengths over `shrink`.
demo = dict(scenes=dict(upright=True), view_size=48, shrink=5)
