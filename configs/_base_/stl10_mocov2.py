# STL-10 at 96 pixels, labelled and unlabelled images; cut as CIFAR-10. It is downloaded into data/stl10.
_base_ = './cifar10_mocov2.py'

data_preprocessor = dict(mean=[112.353, 108.962, 98.379], std=[58.956, 57.758, 57.044])

crop = dict(scale=96, crop_ratio_range=(0.2, 1.0), backend='pillow')
view_pipeline = [dict(type='viewplug.RandomResizedCrop', **crop), *_base_.after_crop]
ccrop_pipeline = [dict(type='viewplug.ContrastiveCrop', alpha=0.1, **crop), *_base_.after_crop]

train_dataloader = dict(
    dataset=dict(
        type='viewplug.STL10',
        data_root='data/stl10',
        split='train+unlabeled',
        pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]), _base_.pack_views],
    )
)
without_flip = [dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline[:-1]]), _base_.pack_views]
with_ccrop = [dict(type='viewplug.MultiView', num_views=2, transforms=[ccrop_pipeline]), _base_.pack_views]

labelled = dict(type='viewplug.STL10', data_root='data/stl10')
knn_hook = dict(train_dataloader=dict(dataset=labelled), val_dataloader=dict(dataset=labelled))
