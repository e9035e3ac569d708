# iBOT's multi-crop (arXiv:2111.07832, sec. 3.3 and 4.1): DINO's with ten local views and smaller crops; half of the
# global views have 0.3 +- 0.2 of their patches masked, in blocks, for the online network.
_base_ = './views_dino.py'

first_crop = {**_base_.global_crop, 'crop_ratio_range': (0.25, 1.0)}
small_crop = {**_base_.local_crop, 'crop_ratio_range': (0.05, 0.25)}
masked_crop = dict(
    type='viewplug.MultiView',
    num_views=[1, 1, 10],
    transforms=[
        [first_crop, *_base_.after_first],
        [first_crop, *_base_.after_second],
        [small_crop, *_base_.after_local],
    ],
)
block_masks = dict(type='viewplug.BlockMasks', num_views=2, grid=14, ratio=0.3, ratio_spread=0.2, prob=0.5)
pack_extras = dict(
    type='viewplug.PackViews', meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'crop_box', 'flip')
)
train_dataloader = dict(dataset=dict(pipeline=[_base_.load_image, block_masks, masked_crop, pack_extras]))
