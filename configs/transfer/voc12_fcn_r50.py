# VOC 2012 semantic segmentation: FCN on R50, 50k iterations on train, mIoU on val (HCL, sec. 4.2.3).
# MoCo's appendix: 16 images a step, lr 0.003, x0.1 at 70 % and 90 %, images scaled by 0.5 to 2, crops of 513, flips; it
# trains 30k iterations on train_aug (10,582 images): mmseg's ann_file ['ImageSets/Segmentation/train.txt',
# 'ImageSets/Segmentation/aug.txt'] with data_prefix.seg_map_path ['SegmentationClass', 'SegmentationClassAug'].
_base_ = ['_base_/runtime_mmseg.py', '_base_/fcn_r50_d16.py']
crop_size = (513, 513)
model = dict(data_preprocessor=dict(size=crop_size), decode_head=dict(num_classes=21))
data_root = 'data/VOCdevkit/VOC2012'
data_prefix = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PascalVOCDataset',
        data_root=data_root,
        data_prefix=data_prefix,
        ann_file='ImageSets/Segmentation/train.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(
                type='RandomResize', scale=(500, 500), ratio_range=(0.5, 2.0), keep_ratio=True
            ),  # VOC's long side: 500
            dict(type='RandomCrop', crop_size=crop_size),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalVOCDataset',
        data_root=data_root,
        data_prefix=data_prefix,
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.003, momentum=0.9, weight_decay=1e-4), clip_grad=None
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=50000, milestones=[35000, 45000], gamma=0.1),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=50000, val_interval=10000)
