# The same for a ViT-B: the last block's class token and the mean of its patch tokens.
_base_ = './linear_vit_small.py'

backbone = dict(out='cls_mean', out_indices=(-1,))
