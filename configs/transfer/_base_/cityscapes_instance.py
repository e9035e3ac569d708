# Short side 800-1024 in steps of 32, 1024 in the test, one image on each of 8 GPUs (detectron2's).
# data/cityscapes/annotations/*.json is written by mmdet's tools/dataset_converters/cityscapes.py.
_base_ = 'mmdet::_base_/datasets/cityscapes_instance.py'
train_dataloader = dict(
    batch_size=1,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='CityscapesDataset',
        data_root='data/cityscapes/',
        ann_file='annotations/instancesonly_filtered_gtFine_train.json',
        data_prefix=dict(img='leftImg8bit/train/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=0),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(
                type='RandomChoiceResize',
                scales=[(2048, short) for short in (800, 832, 864, 896, 928, 960, 992, 1024)],
                keep_ratio=True,
            ),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    ),
)
