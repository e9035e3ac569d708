# SimSiam of ContrastiveCrop's small data sets, as in its authors' code: a projector of three layers of 512, a predictor
# of 128 hidden channels; residual branches start at zero.
_base_ = './simsiam_r18_32px.py'

model = dict(
    backbone=dict(zero_init_residual=True),
    branches=dict(
        image=dict(
            neck=dict(hidden_channels=512, out_channels=512, num_layers=3),
            head=dict(predictor=dict(hidden_channels=128)),
        )
    ),
)
