# Table 3 of SimCLR (arXiv:2002.05709), first row: crop and colour distortion alone, g(h) as long as h, 2048.
_base_ = './r50_b4096.py'

view_pipeline = _base_.view_pipeline[:-1]  # without blur
model = dict(branches=dict(image=dict(neck=dict(out_channels=2048))))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]),
            _base_.pack_views,
        ]
    )
)
