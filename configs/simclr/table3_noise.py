# Table 3 of SimCLR (arXiv:2002.05709): Gaussian noise on half of the views, beside crop and colour; probe it with
# tools/probe_invariances.py.
_base_ = './table3_color.py'

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(
                type='viewplug.MultiView',
                num_views=2,
                transforms=[
                    [
                        *_base_.view_pipeline,
                        dict(type='viewplug.GaussianNoise', magnitude_range=(0, 50), magnitude_std='inf', prob=0.5),
                    ]
                ],
            ),
            _base_.pack_views,
        ]
    )
)
