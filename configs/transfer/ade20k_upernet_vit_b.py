_base_ = 'ade20k_upernet_vit_s.py'
model = dict(
    backbone=dict(model_name='vit_base_patch16_224'),
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768),
)
