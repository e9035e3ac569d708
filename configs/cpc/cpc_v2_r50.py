# CPC v2 on ResNet-50, all four stages (arXiv:1905.09272, Table 1).
_base_ = './cpc_v2_r161.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet',
        depth=50,
        norm_cfg=dict(type='viewplug.ChannelLayerNorm'),
    )
)
demo = dict(model=dict(backbone=dict(base_channels=16)))
