# ADCLR's queries with MoCo's InfoNCE on ViT-S/16, OUR CHOICE of everything: each query patch is an instance of its own,
# its key is the same patch beside the other view, its negatives are a queue of query keys. Two views, 300 epochs.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/views_dino.py',
    '../_base_/in1k_labels.py',
    '../_base_/adamw_dino_400e.py',
    '../_base_/query_branch.py',
]

work_dir = 'work_dirs/adclr/adclr_moco_vit_small_in1k'
contrast = dict(type='viewplug.InfoNCELoss', temperature=0.2)
model = dict(
    type='viewplug.Siamese',
    backbone=dict(type='viewplug.QueryViT', model_name='vit_small_patch16_224'),
    target=dict(type='viewplug.MomentumTarget', momentum=0.99, end_momentum=1.0, joint_views=True),
    online_views=(0, 1),
    target_views=(0, 1),
    joint_views=True,
    branches=dict(
        cls=dict(
            neck=dict(type='viewplug.MLPNeck', hidden_channels=2048, out_channels=256, num_layers=3),
            head=dict(type='viewplug.QueueHead', queue_len=65536, loss=contrast, start='empty'),
        ),
        query=dict(
            neck='cls',
            head=dict(type='viewplug.QueueHead', queue_len=65536, loss=contrast, start='empty'),
            reads='query',
        ),
    ),
)
two_views = dict(
    type='viewplug.MultiView',
    num_views=[1, 1],
    transforms=[[_base_.global_crop, *_base_.after_first], [_base_.global_crop, *_base_.after_second]],
)
pack_extras = {**_base_.pack_views, 'type': 'viewplug.PackViews'}
train_dataloader = dict(dataset=dict(pipeline=[_base_.load_image, _base_.query_crops, two_views, pack_extras]))
optim_wrapper = dict(optimizer=dict(lr=6e-4, weight_decay=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=40, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=260, by_epoch=True, begin=40, end=300, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=300)
