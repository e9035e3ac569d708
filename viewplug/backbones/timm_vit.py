"""A Vision Transformer by its name in timm, checked to be a plain one."""

from __future__ import annotations

import timm
from timm.models.vision_transformer import VisionTransformer


def plain_timm_vit(model_name: str, settings: dict) -> VisionTransformer:
    """The model as timm builds it, without a classifier, for images of any size.

    ``global_pool=''`` keeps the final norm on all tokens, where some models have it behind their pooling.

    Raises:
        ValueError: a name or setting that timm does not know, another kind of model, no class token.
    """
    fixed = dict(num_classes=0, global_pool='', dynamic_img_size=True)
    taken = sorted(set(fixed) & set(settings))
    if taken:
        raise ValueError(f'QueryViT sets {", ".join(taken)} itself: leave it out')
    try:
        vit = timm.create_model(model_name, **settings, **fixed)
    except (TypeError, AssertionError, RuntimeError) as error:  # a setting, a combination, a name that timm refuses
        raise ValueError(f'QueryViT: model_name={model_name!r} does not make a plain ViT: {error}') from None
    if type(vit) is not VisionTransformer:
        raise ValueError(
            f'QueryViT is a timm VisionTransformer, and model_name={model_name!r} is a {type(vit).__name__}; take a '
            "'vit_*'"
        )
    if vit.cls_token is None:
        raise ValueError(
            f'QueryViT needs a class token, and model_name={model_name!r} has none; take another, or class_token=True'
        )
    return vit
