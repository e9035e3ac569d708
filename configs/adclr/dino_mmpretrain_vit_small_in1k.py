# DINO on mmpretrain's own VisionTransformer, whose weights mmpretrain's classifiers load by name.
_base_ = 'dino_vit_small_in1k.py'

work_dir = 'work_dirs/adclr/dino_mmpretrain_vit_small_in1k'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='cls_token',
    )
)
