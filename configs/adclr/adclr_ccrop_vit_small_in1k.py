# ADCLR with ContrastiveCrop's global views: boxes from the attention of the class token, first after a tenth of the run
# and then every 40 epochs. OUR CHOICE: local views and queries are cut from the whole image.
_base_ = 'adclr_vit_small_in1k.py'

work_dir = 'work_dirs/adclr/adclr_ccrop_vit_small_in1k'
global_ccrop = {**_base_.global_crop, 'type': 'viewplug.ContrastiveCrop', 'alpha': 0.6}
views_ccrop = {
    **_base_.multi_crop,
    'transforms': [
        [global_ccrop, *_base_.after_first],
        [global_ccrop, *_base_.after_second],
        [_base_.local_crop, *_base_.after_local],
    ],
}
train_dataloader = dict(dataset=dict(pipeline=[_base_.load_image, _base_.query_crops, views_ccrop, _base_.pack_extras]))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='viewplug.LocalizationHook', start=80, interval=40, threshold=0.1, heatmap='attention'),
]
