"""The parts that the transfer configs add to mmdet's detectors."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from viewplug.registry import METRICS, MODELS, TRANSFORMS

BN = dict(type='BN', requires_grad=True)


@pytest.mark.parametrize('depth, channels', [(18, 512), (50, 2048)])
def test_res5_with_norm_is_the_backbones_last_stage_and_a_batch_norm(depth, channels, tmp_path):
    backbone = MODELS.build(dict(type='mmpretrain.ResNet', depth=depth, out_indices=(2, 3)))
    backbone.init_weights()
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in backbone.state_dict().items()}), tmp_path / 'pre.pth')
    head = MODELS.build(
        dict(
            type='viewplug.Res5WithNorm',
            depth=depth,
            norm_cfg=BN,
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'pre.pth'), prefix='backbone.'),
        )
    )
    head.init_weights()
    head.train()  # a shared head of mmdet would put its norm layers back into evaluation here
    assert all(module.training for module in head.modules())
    c4 = torch.randn(3, channels // 2, 6, 6)
    found = head(c4)
    backbone.train()
    out = backbone.layer4(c4)
    mean, var = out.mean((0, 2, 3), keepdim=True), out.var((0, 2, 3), keepdim=True, unbiased=False)
    torch.testing.assert_close(found, (out - mean) / (var + 1e-5).sqrt(), rtol=1e-4, atol=1e-4)
    assert {key.split('.')[0] for key, _ in head.named_parameters()} == {'layer4', 'norm'}


def test_vit_fpn_gives_the_strides_of_a_feature_pyramid_and_mixes_top_down():
    neck = MODELS.build(dict(type='viewplug.ViTFPN', in_channels=8, out_channels=4, norm_cfg=BN))
    neck.init_weights()
    neck.eval()
    maps = [torch.randn(2, 8, 4, 6, requires_grad=True) for _ in range(4)]
    levels = neck(maps)
    assert [tuple(level.shape) for level in levels] == [
        (2, 4, 16, 24),
        (2, 4, 8, 12),
        (2, 4, 4, 6),
        (2, 4, 2, 3),
        (2, 4, 1, 2),
    ]
    levels[3].sum().backward(retain_graph=True)
    assert maps[3].grad is not None and maps[0].grad is None
    levels[0].sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in maps)
    with pytest.raises(ValueError, match='four maps'):
        neck(maps[:3])


def test_vit_fpn_is_mmdets_fpn_on_rescaled_maps():
    neck = MODELS.build(dict(type='viewplug.ViTFPN', in_channels=8, out_channels=4, norm_cfg=BN)).eval()
    a, b, c, d = (torch.randn(1, 8, 4, 4) for _ in range(4))
    first, norm, _, last = neck.up4
    fine = F.gelu(norm(F.conv_transpose2d(a, first.weight, first.bias, stride=2)))
    fine = F.conv_transpose2d(fine, last.weight, last.bias, stride=2)
    second = F.conv_transpose2d(b, neck.up2.weight, neck.up2.bias, stride=2)
    wanted = neck.fpn((fine, second, c, F.max_pool2d(d, 2)))
    for found, level in zip(neck((a, b, c, d)), wanted, strict=True):
        torch.testing.assert_close(found, level)


def test_keep_difficult_trains_on_every_box_and_leaves_the_data_set_alone():
    sample = dict(instances=[dict(bbox=[0, 0, 1, 1], ignore_flag=1), dict(bbox=[0, 0, 2, 2], ignore_flag=0)])
    before = copy.deepcopy(sample)
    found = TRANSFORMS.build(dict(type='viewplug.KeepDifficult'))(dict(sample))
    assert [one['ignore_flag'] for one in found['instances']] == [0, 0]
    assert sample == before


def test_lvis_metric_lends_numpy_a_name_and_takes_it_back(monkeypatch):
    import mmdet.evaluation

    seen = []
    monkeypatch.setattr(mmdet.evaluation.LVISMetric, '__init__', lambda self: None)
    monkeypatch.setattr(mmdet.evaluation.LVISMetric, 'compute_metrics', lambda self, results: seen.append(np.float))
    METRICS.get('viewplug.LVISMetric')().compute_metrics([])
    assert seen == [float] and not hasattr(np, 'float')


def test_a_voc_metric_with_ten_thresholds_is_the_papers_ap():
    """AP at 11 recalls for each IoU threshold, and their mean, against the definition written out."""
    from mmdet.evaluation import VOCMetric

    truth = torch.tensor([[10.0, 10, 50, 50], [60, 10, 90, 40], [10, 60, 40, 90]])
    guesses = torch.tensor([[12.0, 11, 51, 49], [61, 14, 95, 41], [10, 60, 40, 90], [70, 70, 80, 80], [11, 12, 49, 53]])
    scores = torch.tensor([0.9, 0.6, 0.8, 0.7, 0.5])
    thresholds = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    metric = VOCMetric(iou_thrs=thresholds, eval_mode='11points')
    metric.dataset_meta = dict(classes=('dog',), dataset_type='VOC2007')
    none = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    metric.process(
        {},
        [
            dict(
                gt_instances=dict(bboxes=truth, labels=torch.zeros(3, dtype=torch.long)),
                ignored_instances=none,
                pred_instances=dict(bboxes=guesses, scores=scores, labels=torch.zeros(5, dtype=torch.long)),
            )
        ],
    )
    found = metric.evaluate(1)
    wanted = [ap_at_11_recalls(truth, guesses, scores, threshold) for threshold in thresholds]
    for threshold, ap in zip(thresholds, wanted, strict=True):
        assert found[f'pascal_voc/AP{round(100 * threshold)}'] == pytest.approx(ap, abs=5.1e-4)
    assert found['pascal_voc/mAP'] == pytest.approx(np.mean(wanted))
    assert 0 < wanted[-1] < wanted[0] <= 1


def ap_at_11_recalls(truth, guesses, scores, threshold: float) -> float:
    """VOC 2007: the mean over recalls 0, 0.1 ... 1 of the best precision at that recall or more."""
    taken, hits = set(), []
    for index in scores.argsort(descending=True).tolist():
        ious = [iou(guesses[index].tolist(), box.tolist()) for box in truth]
        best = int(np.argmax(ious))
        hit = ious[best] >= threshold and best not in taken
        taken |= {best} if hit else set()
        hits.append(hit)
    true = np.cumsum(hits)
    recall, precision = true / len(truth), true / np.arange(1, len(hits) + 1)
    return float(
        np.mean(
            [
                max([p for p, r in zip(precision, recall, strict=True) if r >= t - 1e-9], default=0)
                for t in np.linspace(0, 1, 11)
            ]
        )
    )


def iou(a: list[float], b: list[float]) -> float:
    """Pixels counted as VOC counts them: a box from 3 to 5 is three wide."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_the_parts_are_modules_without_a_config():
    from viewplug.detection import Res5WithNorm, ViTFPN

    assert issubclass(Res5WithNorm, nn.Module) and issubclass(ViTFPN, nn.Module)
