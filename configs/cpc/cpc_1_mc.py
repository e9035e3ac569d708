# MC, model capacity: ResNet-161 (arXiv:1905.09272, sec. 4.1, Fig. 3). Patches are compared in 64 dimensions, scaled.
_base_ = './cpc_v1_r101.py'

model = dict(
    backbone=dict(_delete_=True, type='viewplug.ResNet161', norm_cfg=dict(type='BN')),
    head=dict(target_dim=64, loss=dict(temperature=10.0)),
)
optim_wrapper = dict(optimizer=dict(lr=4e-4, betas=(0.8, 0.999)))
demo = dict(model=dict(backbone=dict(base_channels=24)))
