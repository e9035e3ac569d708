# ADCLR's query branch for DINO or iBOT: query patches in both global views, crossed, through the projection of the
# class token. What the public text leaves open is OUR CHOICE (docs/adclr.md): ten queries, crops of 0.05 to 0.25 of the
# image, the same ones with both views, weight 1.0 on the mean over queries, a centre of their own.
query_branch = dict(
    neck='cls',
    head=dict(
        type='viewplug.DistillHead',
        teacher_temperature=0.07,
        warmup_teacher_temperature=0.04,
        warmup_epochs=30,
        center_momentum=0.9,
        loss=dict(type='viewplug.DINOLoss', temperature=0.1),
    ),
    reads='query',
    pairs='cross',
    online_views=(0, 1),
    weight=1.0,
)
query_crops = dict(type='viewplug.QueryCrops', num=10, scale=16, crop_ratio_range=(0.05, 0.25), interpolation='bicubic')
