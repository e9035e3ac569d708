# Table 3 of SimCLR (arXiv:2002.05709): one of 0, 90, 180 and 270 degrees, beside crop and colour; probe it with
# tools/probe_invariances.py.
_base_ = './table3_color.py'

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(
                type='viewplug.MultiView',
                num_views=2,
                transforms=[[*_base_.view_pipeline, dict(type='viewplug.QuarterTurn', turns=(0, 1, 2, 3), prob=1.0)]],
            ),
            _base_.pack_views,
        ]
    )
)
