# As hooks.py; C5 lies in the shared head here.
custom_hooks = [
    dict(type='viewplug.PreciseBNHook', num_batches=200, priority='ABOVE_NORMAL'),
    dict(type='viewplug.TransferCheckHook', required=['backbone', 'roi_head.shared_head.layer4']),
]
