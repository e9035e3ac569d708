default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=10, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    resume_check=dict(type='viewplug.ResumeCheckHook'),  # a resumed run follows its config, not its checkpoint
    running_stats=dict(type='viewplug.SyncRunningStatsHook'),  # one network in all processes
    finite_weights=dict(type='viewplug.FiniteWeightsHook'),  # nan ends a run before its checkpoints hold nothing else
    preemption=dict(type='viewplug.PreemptionHook'),  # SIGTERM: save, end, and --resume within the epoch
)

custom_hooks = [
    dict(type='viewplug.PreflightHook'),
    dict(type='viewplug.EpochSeedHook'),  # exact resume, and other crops in each epoch
    dict(type='viewplug.RepresentationHealthHook'),
    dict(type='viewplug.ViewGalleryHook'),
    dict(type='viewplug.CorruptImageHook'),
    dict(type='viewplug.RunRecordHook'),  # what tools/report.py shows beside the log
]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]  # add dict(type='TensorboardVisBackend') or 'WandbVisBackend'
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_processor = dict(window_size=50)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)

# HCL's second stage adds this to its hooks: MoCo v2's MLP becomes the semantic half, the queue starts anew.
carry_over = dict(
    type='viewplug.CarryOverHook',
    rename={
        'branches.image.neck.': 'branches.image.neck.semantic.',
        'target.necks.image.': 'target.necks.image.semantic.',
    },
    fresh=('target.steps', 'branches.image.head.'),
)
