# ImageNet-1K, cut as MoCo v2 does, but both views are mirrored or neither (ReSim, sec. 3.3).
_base_ = './in1k_mocov2.py'

shared_flip = 0.5
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(
                type='viewplug.MultiView',
                num_views=2,
                transforms=[_base_.view_pipeline[:-1]],
                shared_flip=shared_flip,
            ),
            _base_.pack_views,
        ]
    )
)
