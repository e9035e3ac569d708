_base_ = 'runtime.py'
default_scope = 'mmseg'
custom_hooks = [dict(type='viewplug.TransferCheckHook', required=['backbone'])]  # no run from scratch by mistake
default_hooks = dict(visualization=dict(type='SegVisualizationHook'))
visualizer = dict(type='SegLocalVisualizer', vis_backends=_base_.vis_backends)
