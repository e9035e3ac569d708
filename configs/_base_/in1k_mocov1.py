# ImageNet-1K, cut as MoCo v1 does, and with ContrastiveCrop in the place of the crop (with_ccrop).
_base_ = ['./views_mocov1.py', './in1k_labels.py']

ccrop = dict(type='viewplug.ContrastiveCrop', scale=224, crop_ratio_range=(0.2, 1.0), alpha=0.6, backend='pillow')
with_ccrop = [
    _base_.load_image,
    dict(type='viewplug.MultiView', num_views=2, transforms=[[ccrop, *_base_.view_pipeline[1:]]]),
    _base_.pack_views,
]
