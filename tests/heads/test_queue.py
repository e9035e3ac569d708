"""QueueHead: a first-in-first-out queue, and the loss against it."""

from collections import deque

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.runner.checkpoint import load_state_dict
from processes import in_processes

from viewplug.heads import QueueHead
from viewplug.losses import InfoNCELoss

LOSS = dict(type='InfoNCELoss', temperature=0.2)


def unit(*shape) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def oldest_first(head: QueueHead) -> torch.Tensor:
    return torch.roll(head.queue, -int(head.pointer), dims=0)


def test_a_new_queue_holds_unit_vectors():
    head = QueueHead(LOSS, queue_len=50, feat_dim=6)
    assert torch.allclose(head.queue.norm(dim=1), torch.ones(50))
    assert head.queue.dtype == torch.float32 and head.pointer == 0


@pytest.mark.parametrize('batches', [(3, 3, 3, 3), (5, 2, 4), (7, 7), (1,) * 9, (10, 3), (3, 20, 5), (4, 14)])
def test_the_queue_holds_the_newest_keys_for_any_batch(batches):
    head = QueueHead(LOSS, queue_len=7, feat_dim=4)
    expected = deque(head.queue.clone(), maxlen=7)
    for number in batches:
        keys = unit(number, 4)
        expected.extend(keys)
        head.update([keys])
        head.flush()
        assert torch.equal(oldest_first(head), torch.stack(list(expected)))


def test_the_keys_of_every_target_view_enter():
    head = QueueHead(LOSS, queue_len=7, feat_dim=4)
    a, b = unit(2, 4), unit(2, 4)
    head.update([a, b])
    head.flush()
    assert torch.equal(head.queue[:4], torch.cat([a, b]))


def test_a_step_contrasts_with_the_keys_of_earlier_steps_only():
    head = QueueHead(LOSS, queue_len=7, feat_dim=4)
    queue = head.queue.clone()
    for _ in range(4):
        online, target = unit(3, 4).requires_grad_(), unit(3, 4)
        loss = head.loss(online, target)['loss']
        head.update([target])
        loss.backward()
        logits = torch.cat([(online * target).sum(1, keepdim=True), online @ queue.t()], dim=1) / 0.2
        expected = torch.nn.functional.cross_entropy(logits, torch.zeros(3, dtype=torch.long))
        (gradient,) = torch.autograd.grad(expected, online)
        assert torch.allclose(loss, expected, atol=1e-6) and torch.allclose(online.grad, gradient, atol=1e-6)
        queue = torch.cat([queue, target])[-7:]


def test_a_checkpoint_holds_the_keys_of_the_step_before_it():
    head = QueueHead(LOSS, queue_len=7, feat_dim=4)
    keys = unit(3, 4)
    head.update([keys])
    saved = {name: value.clone() for name, value in head.state_dict().items()}
    assert torch.equal(saved['queue'][:3], keys) and saved['pointer'] == 3
    head.flush()
    assert torch.equal(head.queue, saved['queue']) and head.pointer == 3


def test_the_queue_of_the_process_that_saves_stays_that_of_the_others():
    head = QueueHead(LOSS, queue_len=7, feat_dim=4)
    head.update([unit(3, 4)])
    before = head.queue.clone()
    head.state_dict()
    assert torch.equal(head.queue, before) and head.pointer == 0


def test_loading_forgets_the_keys_that_waited():
    head, other = QueueHead(LOSS, queue_len=7, feat_dim=4), QueueHead(LOSS, queue_len=7, feat_dim=4)
    head.update([unit(3, 4)])
    head.load_state_dict(other.state_dict())
    head.flush()
    assert torch.equal(head.queue, other.queue) and head.pointer == 0


class Handed(InfoNCELoss):
    """A loss of its own class, which is called with the similarities."""


def test_no_step_copies_the_queue_and_none_of_the_plain_loss_keeps_similarities():
    plain, handed = QueueHead(LOSS, queue_len=64, feat_dim=4), QueueHead(Handed(0.2), queue_len=64, feat_dim=4)
    for head, kept in ((plain, set()), (handed, {handed.queue.data_ptr()})):
        place = head.queue.data_ptr()
        for _ in range(3):
            saved = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=saved: kept.append(t) or t, lambda t: t):
                loss = head.loss(unit(3, 4).requires_grad_(), unit(3, 4))['loss']
            as_large = [t for t in saved if t.untyped_storage().nbytes() >= head.queue.untyped_storage().nbytes()]
            assert {t.data_ptr() for t in as_large} == kept
            assert any(t.shape == (3, 64) for t in saved) == (head is handed)  # smaller than the 64 x 4 queue
            loss.backward()
            head.update([unit(3, 4)])
            head.flush()
            assert head.queue.data_ptr() == place


@pytest.mark.parametrize('start', ['random', 'empty'])
@pytest.mark.parametrize('kind', [Handed, InfoNCELoss])
def test_the_plain_loss_by_blocks_is_that_of_all_similarities_which_others_and_listeners_are_handed(start, kind):
    calls, other = [], kind(0.2)
    other.register_forward_hook(lambda module, given, found: calls.append(given))
    heads = [QueueHead(loss, queue_len=32, feat_dim=4, start=start).double() for loss in (InfoNCELoss(0.2), other)]
    heads[1].load_state_dict(heads[0].state_dict())
    for _ in range(3):
        online, target = unit(5, 4).double(), unit(5, 4).double()
        found = []
        for head in heads:
            mine = online.clone().requires_grad_()
            loss = head.loss(mine, target)['loss']
            found.append((loss.detach(), *torch.autograd.grad(loss, mine)))
            head.update([target])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert [similar.shape for _, similar in calls] == [(5, n) for n in ((32,) * 3 if start == 'random' else (0, 5, 10))]


def test_bf16_embeddings_are_compared_and_stored_in_float32():
    head = QueueHead(LOSS, queue_len=8, feat_dim=4)
    online, target = unit(2, 4).bfloat16(), unit(2, 4).bfloat16()
    expected = head.loss(online.float(), target.float())['loss']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = head.loss(online, target)['loss']
        head.update([target])
        head.flush()
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
    assert head.queue.dtype == torch.float32 and torch.equal(head.queue[:2], target.float())


@pytest.mark.parametrize('batch', [3, 4, 20])
def test_an_empty_queue_contrasts_with_keys_of_images_only(batch):
    head = QueueHead(LOSS, queue_len=7, feat_dim=4, start='empty')
    seen = torch.zeros(0, 4)
    for _ in range(5):
        online, target = unit(batch, 4).requires_grad_(), unit(batch, 4)
        loss = head.loss(online, target)['loss']
        head.update([target])
        loss.backward()
        logits = torch.cat([(online * target).sum(1, keepdim=True), online @ seen.t()], dim=1) / 0.2
        expected = torch.nn.functional.cross_entropy(logits, torch.zeros(batch, dtype=torch.long))
        (gradient,) = torch.autograd.grad(expected, online)
        assert torch.allclose(loss, expected, atol=1e-6) and torch.allclose(online.grad, gradient, atol=1e-6)
        seen = torch.cat([seen, target])[-7:]


def test_the_first_step_on_an_empty_queue_pulls_nowhere():
    head = QueueHead(LOSS, queue_len=7, feat_dim=4, start='empty')
    online = unit(3, 4).requires_grad_()
    loss = head.loss(online, unit(3, 4))['loss']
    loss.backward()
    assert loss == 0 and not online.grad.any()


@pytest.mark.parametrize('keys', [0, 3, 6, 7, 9])
def test_a_loaded_queue_knows_how_far_it_was_filled(keys):
    head, other = (QueueHead(LOSS, queue_len=7, feat_dim=4, start='empty') for _ in range(2))
    for key in unit(keys, 1, 4):
        head.update([key])
    other.load_state_dict(head.state_dict())
    online, target = unit(3, 4), unit(3, 4)
    assert torch.equal(other.loss(online, target)['loss'], head.loss(online, target)['loss'])
    full = QueueHead(LOSS, queue_len=7, feat_dim=4)
    other.load_state_dict(full.state_dict())
    assert torch.equal(other.loss(online, target)['loss'], full.loss(online, target)['loss'])


@pytest.mark.parametrize('other', [dict(queue_len=5), dict(queue_len=20), dict(feat_dim=6), None], ids=str)
@pytest.mark.parametrize('start', ['empty', 'random'])
def test_a_checkpoint_whose_queue_has_another_shape_or_is_left_out_leaves_a_queue_as_new(start, other):
    source = QueueHead(LOSS, start=start, **{'queue_len': 7, 'feat_dim': 4} | (other or {}))
    source.update([unit(3, source.feat_dim)])
    saved = {f'head.{name}': value for name, value in source.state_dict().items()}
    assert saved['head.pointer'] == 3
    if other is None:  # CarryOverHook takes away what does not fit
        del saved['head.queue']
    head = QueueHead(LOSS, queue_len=7, feat_dim=4, start=start)
    new = QueueHead(LOSS, queue_len=7, feat_dim=4, start=start)
    new.load_state_dict(head.state_dict())
    load_state_dict(torch.nn.ModuleDict(dict(head=head)), saved, strict=False)
    assert head.pointer == 0
    for _ in range(4):
        online, target = unit(3, 4), unit(3, 4)
        assert torch.equal(head.loss(online, target)['loss'], new.loss(online, target)['loss'])
        for each in (head, new):
            each.update([target])
    assert {f'head.{name}' for name in source.state_dict()} >= set(saved)  # the checkpoint stays as it was


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="start must be 'random' or 'empty', got 'zeros'"):
        QueueHead(LOSS, start='zeros')


def enqueue_on_a_rank(batches):
    torch.manual_seed(1)
    head = QueueHead(LOSS, queue_len=7, feat_dim=4)
    for everyone in batches:
        head.update([everyone.chunk(2)[get_rank()]])
    return {name: value.clone() for name, value in head.state_dict().items()}


def test_two_processes_enqueue_what_one_would_in_the_order_of_their_ranks(tmp_path):
    batches = [unit(4, 4), unit(6, 4), unit(2, 4)]
    torch.manual_seed(1)
    alone = QueueHead(LOSS, queue_len=7, feat_dim=4)
    for everyone in batches:
        alone.update([everyone])
    expected = alone.state_dict()
    for state in in_processes(enqueue_on_a_rank, tmp_path, batches):
        assert torch.equal(state['queue'], expected['queue']) and state['pointer'] == expected['pointer']


def test_embeddings_of_another_length_are_refused_with_the_length_to_set():
    with pytest.raises(ValueError, match=r'feat_dim=128.*length 324.*feat_dim=324'):
        QueueHead(LOSS, queue_len=8, feat_dim=128).loss(unit(2, 324), unit(2, 324))


@pytest.mark.parametrize('name', ['queue_len', 'feat_dim'])
def test_an_empty_queue_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got 0'):
        QueueHead(LOSS, **{name: 0})
