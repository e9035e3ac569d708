# ADCLR on iBOT, ViT-B/16: query patches beside the class token and the masked patches. Its baseline is
# ibot_vit_base_in1k.py.
_base_ = ['ibot_vit_base_in1k.py', '../_base_/query_branch.py']

work_dir = 'work_dirs/adclr/adclr_vit_base_in1k'
model = dict(branches=dict(query={**_base_.query_branch, 'head': {**_base_.query_branch.head, 'warmup_epochs': 50}}))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            _base_.query_crops,
            _base_.block_masks,
            _base_.views_vit_base,
            _base_.pack_extras,
        ]
    )
)
