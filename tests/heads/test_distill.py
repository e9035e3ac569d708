"""DistillHead and PatchDistillHead: DINO's and iBOT's losses over several steps, the centre, the warm-up."""

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from processes import in_processes
from torch.nn import functional as F

from viewplug.heads import DistillHead, PatchDistillHead

K, N = 12, 5
MULTI_CROP = [(o, t) for t in (0, 1) for o in range(5) if o != t]


def logits(*views: int, rows: int = N) -> dict[int, torch.Tensor]:
    return {view: torch.randn(rows, K, requires_grad=True) for view in views}


class PlainDINO:
    """DINO's pseudo-code (algorithm 1) for any pairs, one pair after the other."""

    def __init__(self) -> None:
        self.center = torch.zeros(K)

    def __call__(self, online, target, pairs, temperature: float) -> torch.Tensor:
        losses = []
        for o, t in pairs:
            targets = F.softmax((target[t].detach() - self.center) / temperature, dim=-1)
            losses.append(-(targets * F.log_softmax(online[o] / 0.1, dim=-1)).sum(dim=-1).mean())
        rows = torch.cat([target[t] for t in sorted({t for _, t in pairs})]).detach()
        self.center = 0.9 * self.center + 0.1 * rows.mean(dim=0)
        return sum(losses) / len(losses)


def test_losses_gradients_and_centres_of_several_steps_are_those_of_the_papers_algorithm():
    head, plain = DistillHead(feat_dim=K, warmup_epochs=3), PlainDINO()
    for epoch, temperature in enumerate((0.04, 0.055, 0.07, 0.07)):
        online, target = logits(0, 1, 2, 3, 4), logits(0, 1)
        head.epoch = epoch
        found = head.loss_of_pairs(online, target, MULTI_CROP)
        expected = plain(online, target, MULTI_CROP, temperature)
        torch.testing.assert_close(found['loss'], expected)
        gradients = torch.autograd.grad(found['loss'], list(online.values()))
        for mine, theirs in zip(gradients, torch.autograd.grad(expected, list(online.values())), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
        head.update([target[0], target[1]])
        torch.testing.assert_close(head.center, plain.center)
        assert target[0].grad is None


def test_all_pairs_at_once_give_the_mean_of_the_pairs_one_by_one():
    head = DistillHead(feat_dim=K, warmup_epochs=0)
    head.center.normal_()
    online, target = logits(0, 1, 2, 3, 4), logits(0, 1)
    at_once = head.loss_of_pairs(online, target, MULTI_CROP)
    one_by_one = [head.loss(online[o], target[t], pair=(o, t)) for o, t in MULTI_CROP]
    for key, value in at_once.items():
        torch.testing.assert_close(value, torch.stack([result[key] for result in one_by_one]).mean())


def test_the_teachers_softmax_is_taken_once_a_target_view(monkeypatch):
    from viewplug.heads import distill

    calls, sharpened = [], distill.sharpened
    monkeypatch.setattr(distill, 'sharpened', lambda *args: calls.append(1) or sharpened(*args))
    DistillHead(feat_dim=K, warmup_epochs=0).loss_of_pairs(logits(0, 1, 2, 3, 4), logits(0, 1), MULTI_CROP)
    assert len(calls) == 2


def test_entropy_and_kl_add_up_to_the_loss_and_show_both_kinds_of_collapse():
    head = DistillHead(feat_dim=K, warmup_epochs=0)
    healthy = head.loss_of_pairs(logits(0, 1), logits(0, 1), [(0, 1), (1, 0)])
    assert healthy['kl'] > 0.5 and healthy['center_norm'] == 0
    assert (healthy['kl'] + healthy['target_entropy']).item() == pytest.approx(healthy['loss'].item(), rel=1e-6)
    uniform = head.loss(torch.zeros(N, K), torch.zeros(N, K))
    assert uniform['target_entropy'].item() == pytest.approx(torch.tensor(float(K)).log().item(), abs=1e-6)
    assert uniform['kl'].abs() < 1e-5
    one = torch.zeros(N, K)
    one[:, 3] = 50
    single = head.loss(one, one)
    assert single['target_entropy'] < 1e-6 and single['kl'] < 1e-6


def test_only_the_loss_of_a_branch_is_minimised():
    found = DistillHead(feat_dim=K, warmup_epochs=0).loss(*[torch.randn(N, K)] * 2)
    assert [key for key in found if 'loss' in key] == ['loss']


def test_the_centre_moves_by_update_alone():
    head = DistillHead(feat_dim=K, warmup_epochs=0)
    before = head.center.clone()
    head.loss(torch.randn(N, K), torch.randn(N, K))
    assert torch.equal(head.center, before)
    head.update([torch.ones(N, K), torch.full((2 * N, K), 4.0)])
    torch.testing.assert_close(head.center, torch.full((K,), 0.1 * (N + 8 * N) / (3 * N)))


MASKS = torch.rand(6, 2, 3, 3, generator=torch.Generator().manual_seed(4)) < 0.4
MASKS[2] = False


def ibot_plain(online, target, masks, center, temperature=0.07):
    """The authors' formula on maps of all patches: mean over masked patches of an image, then over images and views."""
    losses = []
    for view in (0, 1):
        mask = masks[:, view].flatten(1).float()
        targets = F.softmax((target[view] - center) / temperature, dim=-1)
        rows = -(targets * F.log_softmax(online[view] / 0.1, dim=-1)).sum(dim=-1)
        losses.append(((rows * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).mean())
    return sum(losses) / 2


def masked(maps: dict[int, torch.Tensor], masks) -> dict[int, torch.Tensor]:
    return {view: rows[masks[:, view].flatten(1)] for view, rows in maps.items()}


def test_the_patch_loss_is_ibots_over_maps_of_all_patches():
    head = PatchDistillHead(feat_dim=K, warmup_epochs=0)
    head.center.normal_()
    online = {view: torch.randn(6, 9, K, requires_grad=True) for view in (0, 1)}
    target = {view: torch.randn(6, 9, K) for view in (0, 1)}
    found = head.loss_of_pairs(masked(online, MASKS), masked(target, MASKS), [(0, 0), (1, 1)], masks=MASKS)
    expected = ibot_plain(online, target, MASKS, head.center)
    torch.testing.assert_close(found['loss'], expected)
    for view in (0, 1):
        mine, theirs = (torch.autograd.grad(loss, online[view])[0] for loss in (found['loss'], expected))
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
        (found, expected) = (
            head.loss_of_pairs(masked(online, MASKS), masked(target, MASKS), [(0, 0), (1, 1)], masks=MASKS),
            ibot_plain(online, target, MASKS, head.center),
        )


def test_without_a_masked_patch_the_loss_is_0_and_the_centre_stays():
    head = PatchDistillHead(feat_dim=K, warmup_epochs=0)
    head.center.fill_(2.0)
    nothing = {0: torch.zeros(0, K, requires_grad=True)}
    found = head.loss_of_pairs(nothing, nothing, [(0, 0)], masks=torch.zeros(6, 1, 3, 3, dtype=torch.bool))
    found['loss'].backward()
    head.update(list(nothing.values()))
    assert found['loss'] == 0 and torch.equal(head.center, torch.full((K,), 2.0))


def share(values, wrap: bool):
    return {view: rows.chunk(2)[get_rank()] if wrap else rows for view, rows in values.items()}


def two_steps(online, target, patches, wrap: bool):
    head, patch_head = DistillHead(feat_dim=K, warmup_epochs=0), PatchDistillHead(feat_dim=K, warmup_epochs=0)
    masks = MASKS.chunk(2)[get_rank()] if wrap else MASKS
    losses = []
    for _ in range(2):
        mine = share(online, wrap), share(target, wrap)
        losses.append(head.loss_of_pairs(*mine, [(0, 1), (1, 0)])['loss'].item())
        head.update(list(mine[1].values()))
        rows = masked(share(patches, wrap), masks)
        losses.append(patch_head.loss_of_pairs(rows, rows, [(0, 0), (1, 1)], masks=masks)['loss'].item())
        patch_head.update(list(rows.values()))
    return losses, head.center, patch_head.center


def test_two_processes_have_the_loss_and_the_centres_of_one(tmp_path):
    online, target = ({view: torch.randn(6, K) for view in (0, 1)} for _ in range(2))
    patches = {view: torch.randn(6, 9, K) for view in (0, 1)}
    losses, *centers = two_steps(online, target, patches, False)
    (first, *its), (second, *others) = in_processes(two_steps, tmp_path, online, target, patches, True)
    for alone, a, b in zip(losses, first, second, strict=True):
        assert (a + b) / 2 == pytest.approx(alone, rel=1e-5)
    for expected, mine, theirs in zip(centers, its, others, strict=True):
        torch.testing.assert_close(mine, expected)
        torch.testing.assert_close(theirs, expected)


def test_the_centre_is_in_the_checkpoint():
    head, resumed = DistillHead(feat_dim=K, warmup_epochs=0), DistillHead(feat_dim=K, warmup_epochs=0)
    head.update([torch.randn(N, K)])
    resumed.load_state_dict(head.state_dict())
    online, target = torch.randn(N, K), torch.randn(N, K)
    assert resumed.loss(online, target)['loss'] == head.loss(online, target)['loss']
    assert set(head.state_dict()) == {'center'}


def test_the_temperature_rises_linearly_over_the_warm_up_by_the_runners_epoch(monkeypatch):
    head = DistillHead(feat_dim=K, warmup_epochs=30)
    expected = torch.linspace(0.04, 0.07, 30)
    assert [head.temperature_at(epoch) for epoch in range(30)] == pytest.approx(expected.tolist(), abs=1e-7)
    assert head.temperature_at(30) == head.temperature_at(500) == 0.07
    hub = MessageHub.get_instance('test_distill')
    monkeypatch.setattr(MessageHub, 'get_current_instance', lambda: hub)
    online, target = torch.randn(N, K), torch.randn(N, K)
    with pytest.raises(ValueError, match='warmup_epochs=30 without a Runner needs head.epoch'):
        head.loss(online, target)
    hub.update_info('epoch', 29)
    by_runner = head.loss(online, target)['loss']
    head.epoch = 29
    assert by_runner == head.loss(online, target)['loss']
    head.epoch = 0
    assert by_runner != head.loss(online, target)['loss']


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (dict(teacher_temperature=0), 'teacher_temperature must be above 0, got 0'),
        (dict(warmup_teacher_temperature=-1), 'warmup_teacher_temperature must be above 0, got -1'),
        (dict(center_momentum=1.5), r'center_momentum must lie in \[0, 1\], got 1.5'),
        (dict(warmup_epochs=-1), 'warmup_epochs must be at least 0, got -1'),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(arguments, sentence):
    with pytest.raises(ValueError, match=f'DistillHead: {sentence}'):
        DistillHead(feat_dim=K, **arguments)


def test_the_patch_head_refuses_a_loss_without_masks():
    with pytest.raises(ValueError, match='loss must be viewplug.IBOTLoss, got DINOLoss'):
        PatchDistillHead(loss=dict(type='viewplug.DINOLoss'), feat_dim=K)
