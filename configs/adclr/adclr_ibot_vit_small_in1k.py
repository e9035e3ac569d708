# ADCLR on iBOT, ViT-S/16. Its baseline is ibot_vit_small_in1k.py.
_base_ = ['ibot_vit_small_in1k.py', '../_base_/query_branch.py']

work_dir = 'work_dirs/adclr/adclr_ibot_vit_small_in1k'
model = dict(branches=dict(query=_base_.query_branch))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            _base_.query_crops,
            _base_.block_masks,
            _base_.masked_crop,
            _base_.pack_extras,
        ]
    )
)
