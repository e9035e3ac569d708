# BYOL of ContrastiveCrop's small data sets, as in its authors' code: 512 hidden and 128 last channels, all with biases,
# a constant momentum and residual branches that do not start at zero. Our target starts equal to online, theirs apart.
_base_ = './byol_r18_32px.py'

model = dict(
    backbone=dict(zero_init_residual=False),
    target=dict(momentum=0.996, end_momentum=None),
    branches=dict(
        image=dict(
            neck=dict(hidden_channels=512, out_channels=128, last_bias=True),
            head=dict(predictor=dict(hidden_channels=512, last_bias=True)),
        )
    ),
)
