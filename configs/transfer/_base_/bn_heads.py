# BN in the heads as well: a box head of four convolutions and one linear layer (two linear layers have no place for a
# norm) and the mask head's convolutions.
bn_heads = dict(
    bbox_head=dict(
        type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=dict(type='SyncBN', requires_grad=True)
    ),
    mask_head=dict(norm_cfg=dict(type='SyncBN', requires_grad=True)),
)
