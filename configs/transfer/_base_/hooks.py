# Precise BN is detectron2's TEST.PRECISE_BN, which MoCo's detection configs switch on; 200 batches is its default.
# The check stops a run whose backbone did not get the checkpoint's values.
custom_hooks = [
    dict(type='viewplug.PreciseBNHook', num_batches=200, priority='ABOVE_NORMAL'),
    dict(type='viewplug.TransferCheckHook', required=['backbone']),
]
