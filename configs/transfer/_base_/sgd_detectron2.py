# SGD with 16 images a step, detectron2's: no weight decay on norm layers (its SOLVER.WEIGHT_DECAY_NORM), no clipping.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
