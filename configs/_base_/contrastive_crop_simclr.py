# SimCLR of ContrastiveCrop's small data sets, as in its authors' code: no batch norm in the projector, residual
# branches that do not start at zero, and the loss times T / 0.07, which multiplies the step of SGD.
_base_ = './simclr_r18_32px.py'

model = dict(
    backbone=dict(zero_init_residual=False),
    branches=dict(
        image=dict(
            neck=dict(norm_cfg=None, last_norm_cfg=None, bias=True, last_bias=True),
            weight=0.5 / 0.07,
        )
    ),
)
