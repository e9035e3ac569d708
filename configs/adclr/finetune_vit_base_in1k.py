# The same of a ViT-B/16: 100 epochs, layers decay by 0.65, drop path 0.2.
_base_ = 'finetune_vit_small_in1k.py'

work_dir = 'work_dirs/adclr/finetune_vit_base_in1k'
model = dict(
    backbone=dict(
        model_name='vit_base_patch16_224',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='work_dirs/adclr/adclr_vit_base_in1k/epoch_400.pth'),
    ),
    head=dict(in_channels=768),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3), paramwise_cfg=dict(layer_decay_rate=0.65))
param_scheduler = [
    _base_.param_scheduler[0],
    {**_base_.param_scheduler[1], 'T_max': 80, 'end': 100},
]
train_cfg = dict(max_epochs=100)
