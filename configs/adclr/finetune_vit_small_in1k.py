# Fine-tuning of a pre-trained ViT-S/16 on ImageNet-1K, with layer-wise learning rates (iBOT, arXiv:2111.07832, sec.
# 4.1: BEiT's protocol, 200 epochs, no weight decay of position embeddings and class token). Start it with
#   --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/adclr/adclr_vit_small_in1k/epoch_800.pth
_base_ = ['../_base_/default_runtime.py']

work_dir = 'work_dirs/adclr/finetune_vit_small_in1k'
checkpoint = 'work_dirs/adclr/adclr_vit_small_in1k/epoch_800.pth'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='viewplug.QueryViT',
        model_name='vit_small_patch16_224',
        out='cls',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='target.backbone.'),
    ),
    neck=None,
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
data_preprocessor = dict(
    type='ClsDataPreprocessor',
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
    dict(type='PackInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bilinear'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
labelled = dict(type='viewplug.ImageFolder', with_label=True)
loader = dict(
    batch_size=128,  # times 8 processes
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(data_root='data/imagenet/train', pipeline=train_pipeline, **labelled),
)
val_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data_root='data/imagenet/val', pipeline=val_pipeline, **labelled),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
val_cfg = dict()

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),
    constructor='LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.75,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'pos_embed': dict(decay_mult=0.0), 'cls_token': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=180, eta_min=1e-6, by_epoch=True, begin=20, end=200, convert_to_iter_based=True
    ),
]
train_cfg = dict(type='viewplug.EpochLoop', max_epochs=200, val_interval=10)
auto_scale_lr = dict(base_batch_size=1024)
custom_hooks = [dict(type='viewplug.TransferCheckHook', required=['backbone'])]
