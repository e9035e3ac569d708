# ViT-S/16 as a backbone that yields maps. Parameters have timm's names, which are a pre-training checkpoint's as well;
# the position embeddings are resized to each image. ViT-B: model_name='vit_base_patch16_224', 768 channels.
backbone = dict(
    type='viewplug.QueryViT',
    model_name='vit_small_patch16_224',
    out='maps',
    out_indices=(3, 5, 7, 11),
    drop_path_rate=0.1,
    init_cfg=dict(type='Pretrained', checkpoint='(none given; add --init CKPT)', prefix='backbone.'),
)
