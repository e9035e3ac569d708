# ContrastiveCrop, HCL and ReSim-C4 in one run: 200 epochs from MoCo v2's weights. Run with --stages.
_base_ = 'mocov2_hcl_resim_r50.py'

ccrop = dict(type='viewplug.ContrastiveCrop', scale=224, crop_ratio_range=(0.2, 1.0), alpha=0.6, backend='pillow')
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(
                type='viewplug.MultiView',
                num_views=2,
                transforms=[[ccrop, *_base_.view_pipeline[1:]]],
                shared_flip=0.5,
            ),
            _base_.pack_views,
        ]
    )
)
localization = dict(type='viewplug.LocalizationHook', start=20, interval=10, threshold=0.1)
custom_hooks = [*_base_.custom_hooks, localization]
