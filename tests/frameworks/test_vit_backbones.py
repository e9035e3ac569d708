"""ViTs of ours, of mmpretrain and of timm under a Siamese framework with the necks that CNNs have."""

import pytest
import torch
from toy_runs import log_of, toy_runner
from toys import ToyImages, mlp_branch, total, toy_siamese, toy_views

from viewplug.backbones import QueryViT, backbone_layout, pooled
from viewplug.evaluation.features import pool
from viewplug.hooks.knn import KNNHook

SIZES = dict(img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=3)
ARCH = dict(embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=24)
QUERY_VIT = dict(type='viewplug.QueryViT', model_name='vit_tiny_patch16_224', **SIZES)
MMPRETRAIN = dict(type='mmpretrain.VisionTransformer', arch=ARCH, img_size=16, patch_size=4)
TIMM = dict(type='mmpretrain.TIMMBackbone', model_name='vit_tiny_patch16_224', **SIZES)
VITS = {
    'QueryViT': (QUERY_VIT, lambda backbone, images: backbone(images)['cls']),
    'QueryViT, maps': (dict(QUERY_VIT, out='maps'), lambda backbone, images: backbone(images)[0].mean((2, 3))),
    "mmpretrain's": (MMPRETRAIN, lambda backbone, images: backbone(images)[0]),
    "mmpretrain's, maps": (dict(MMPRETRAIN, out_type='featmap'), lambda b, images: b(images)[0].mean((2, 3))),
    "timm's tokens": (TIMM, lambda backbone, images: backbone.timm_model.forward_features(images).mean(1)),
}


@pytest.mark.parametrize('name', VITS)
def test_moco_v2_on_a_vit_reads_one_vector_an_image(name):
    settings, vector = VITS[name]
    model = toy_siamese(settings)
    views = toy_views(4)
    neck = model.branches['image'].neck
    assert neck.mlp[0].in_features == 12
    with torch.no_grad():
        expected = vector(model.eval().backbone, views[0])
        assert torch.allclose(pooled(model.backbone(views[0])), expected, atol=1e-6)
        assert torch.allclose(model.encode(views[0])['image'], neck(expected)[0], atol=1e-5)
        assert torch.allclose(pool(model.backbone(views[0])), torch.nn.functional.normalize(expected), atol=1e-5)
    model.train()
    loss = total(model.loss(views))
    loss.backward()
    gradients = {key: p.grad for key, p in model.backbone.named_parameters()}
    reached = [key for key, gradient in gradients.items() if gradient is not None and gradient.abs().max() > 0]
    assert torch.isfinite(loss) and any('qkv' in key for key in reached)


def test_the_target_is_an_average_of_the_vit_and_starts_equal():
    model = toy_siamese(dict(QUERY_VIT, mask_token=True))
    online, target = model.backbone.state_dict(), model.target.backbone.state_dict()
    assert list(online) == list(target) and all(torch.equal(online[key], target[key]) for key in online)
    assert isinstance(model.target.backbone, QueryViT) and not model.target.backbone.cls_token.requires_grad


def test_layouts_of_tokens_and_mappings_are_those_of_a_vector():
    model = QueryViT('vit_tiny_patch16_224', **SIZES)
    assert backbone_layout(model, 16) == ((12,), (None,))
    assert backbone_layout(QueryViT('vit_tiny_patch16_224', patch_size=14, depth=1, img_size=28)) == ((192,), (None,))
    maps = QueryViT('vit_tiny_patch16_224', out='maps', out_indices=(0, 1), **SIZES)
    assert backbone_layout(maps, 16) == ((12, 12), (4, 4))


def test_knn_follows_a_vit_through_a_run(tmp_path):
    def loader(number):
        steps = [dict(type='mmpretrain.Resize', scale=(32, 32)), dict(type='mmpretrain.PackInputs')]
        images = ToyImages(number=number, pipeline=[dict(type='Labelled'), *steps])
        return dict(batch_size=8, num_workers=0, dataset=images)

    from mmcv.transforms import TRANSFORMS, BaseTransform

    @TRANSFORMS.register_module(force=True)
    class Labelled(BaseTransform):
        def transform(self, results):
            return dict(results, gt_label=results['sample_idx'] % 2)

    hook = KNNHook(loader(16), loader(8), k=3)
    runner = toy_runner(tmp_path, [hook], backbone=dict(QUERY_VIT, img_size=32), branch=mlp_branch(queue_len=16))
    runner.train()
    assert [step for step, _ in hook.curve] == [0, 1, 2] and 'kNN top-1' in log_of(tmp_path)
