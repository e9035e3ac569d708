# detectron2's TEST.PRECISE_BN, which MoCo's detection configs switch on: 200 batches, detectron2's default.
custom_hooks = [dict(type='viewplug.PreciseBNHook', num_batches=200, priority='ABOVE_NORMAL')]
