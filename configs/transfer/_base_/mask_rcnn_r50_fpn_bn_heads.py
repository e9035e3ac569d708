# BN in the heads as well: a box head of four convolutions and one linear layer (two linear layers have no place for a
# norm) and the mask head's convolutions.
_base_ = 'mask_rcnn_r50_fpn.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=dict(type='SyncBN', requires_grad=True)
        ),
        mask_head=dict(norm_cfg=dict(type='SyncBN', requires_grad=True)),
    )
)
