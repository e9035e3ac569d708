# ReSim-FPN^T: the pyramid's weights come along (ReSim, sec. 4.2), laterals of all levels and outputs of those that
# ReSim trained; give the checkpoint with --init.
_base_ = 'scenes_faster_rcnn_fpn.py'
custom_hooks = [
    dict(
        type='viewplug.InitFromSSL',
        checkpoint='(none given; add --init CKPT)',
        modules=dict(backbone='auto', neck='branches.region.neck.fpn.'),
    ),
    dict(type='viewplug.TransferCheckHook', required=['backbone', 'neck.lateral_convs']),
]
