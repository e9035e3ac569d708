import os
import random

import numpy as np
import pytest
import torch
from labelled_folders import folder_loader, make_folder
from mmengine.hooks import Hook
from processes import in_processes
from torch.utils.data import DataLoader
from toy_siamese import ToyImages, ToySiamese, collate, loader, log_text, make_runner, scalars

from viewplug.evaluation.features import extract_features, gather_shares, share
from viewplug.evaluation.knn import evaluate_knn, knn_predict
from viewplug.hooks import KNNHook
from viewplug.hooks.knn import describe_curve


def knn_hook(**kwargs):
    bank, val = loader(ToyImages(10, views=1), batch_size=4), loader(ToyImages(8, views=1), batch_size=3)
    return dict(type='viewplug.KNNHook', **{**dict(train_dataloader=bank, val_dataloader=val, k=(3, 1)), **kwargs})


def hook_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, KNNHook))


class Losses(Hook):
    """The loss and the training modes of each step, to the last bit."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = runner.model.module if hasattr(runner.model, 'module') else runner.model
        modes = [module.training for module in model.modules()]
        self.seen.append((float(outputs['loss']), random.random(), np.random.rand(), tuple(modes)))


def test_curve_has_the_untrained_network_and_every_epoch_and_is_logged_everywhere(tmp_path):
    runner = make_runner(tmp_path, [knn_hook()])
    runner.train()
    curve = hook_of(runner).curve
    assert [step for step, _ in curve] == [0, 1, 2]
    logged = [line for line in scalars(tmp_path) if 'knn/top1_k3' in line]
    assert [(line['step'], line['knn/top1_k3']) for line in logged] == curve
    assert all('knn/top1_k1' in line for line in logged)
    assert runner.message_hub.get_scalar('val/knn_top1').data[0].tolist() == [value for _, value in curve]
    line = (
        f'kNN top-1 (k=3): {curve[0][1]:.1f} (untrained) -> {curve[1][1]:.1f} (epoch 1) -> {curve[2][1]:.1f} (epoch 2)'
    )
    assert line in log_text(tmp_path)
    assert f'{curve[2][1] - curve[0][1]:+.1f} points' in log_text(tmp_path)
    direct = evaluate_knn(runner.model, *hook_of(runner)._loaders, k=3)
    assert direct[3] == curve[-1][1]


def test_training_is_equal_to_the_bit_with_and_without_the_hook(tmp_path):
    runs = []
    for name, hooks in (('without', []), ('with', [knn_hook()])):
        losses = Losses()
        make_runner(tmp_path / name, [*hooks, losses]).train()
        runs.append(losses.seen)
    assert runs[0] == runs[1] and len(runs[0]) == 4


def test_interval_counts_epochs_or_iterations_and_the_end_always_counts(tmp_path):
    runner = make_runner(tmp_path / 'epochs', [knn_hook(interval=2, at_start=False)], epochs=3)
    runner.train()
    assert [step for step, _ in hook_of(runner).curve] == [2, 3]
    runner = make_runner(
        tmp_path / 'iters', [knn_hook(interval=2, by_epoch=False)], train_cfg=dict(by_epoch=False, max_iters=2)
    )
    runner.train()
    assert [step for step, _ in hook_of(runner).curve] == [0, 2]


def test_a_resumed_run_continues_the_curve_without_a_second_start(tmp_path):
    first = make_runner(tmp_path, [knn_hook()], epochs=1)
    first.train()
    resumed = make_runner(tmp_path / 'b', [knn_hook()], load_from=str(tmp_path / 'epoch_1.pth'), resume=True)
    resumed.train()
    assert [step for step, _ in hook_of(resumed).curve] == [0, 1, 2]
    assert hook_of(resumed).curve[:2] == hook_of(first).curve
    assert '(untrained) ->' in log_text(tmp_path / 'b')
    loaded = make_runner(tmp_path / 'c', [knn_hook()], load_from=str(tmp_path / 'epoch_1.pth'))
    loaded.train()
    assert [step for step, _ in hook_of(loaded).curve] == [0, 1, 2]
    assert '(loaded weights) ->' in log_text(tmp_path / 'c')


def test_a_run_that_stops_early_is_evaluated_at_its_end(tmp_path):
    class Stop(Hook):
        def after_train_epoch(self, runner):
            runner.train_loop.stop_training = True

    runner = make_runner(tmp_path, [knn_hook(interval=5), Stop()], epochs=9)
    runner.train()
    assert [step for step, _ in hook_of(runner).curve] == [0, 1]


def test_target_evaluates_the_momentum_backbone_under_its_own_name(tmp_path):
    runner = make_runner(tmp_path, [knn_hook(target=True)], epochs=1)
    runner.train()
    assert any('knn_target/top1_k3' in line for line in scalars(tmp_path))
    assert 'kNN of the target top-1' in log_text(tmp_path)
    hook = hook_of(runner)
    expected = evaluate_knn(runner.model, *hook._loaders, k=3, backbone=runner.model.target.backbone)
    assert hook.curve[-1][1] == expected[3]


def test_errors_and_warnings_name_the_key(tmp_path):
    unlabelled = loader(ToyImages(8, views=1, labelled=False))
    with pytest.raises(ValueError, match='val_dataloader gives data_samples without gt_label .dataset ToyImages'):
        make_runner(tmp_path / 'a', [knn_hook(val_dataloader=unlabelled)]).train()
    model = ToySiamese()
    del model.target.backbone
    with pytest.raises(ValueError, match='target=True'):
        make_runner(tmp_path / 'b', [knn_hook(target=True)], model).train()
    with pytest.raises(ValueError, match='interval.*0'):
        KNNHook({}, {}, interval=0)
    with pytest.raises(ValueError, match='2 views'):
        make_runner(tmp_path / 'c', [knn_hook(train_dataloader=loader(ToyImages()))]).train()
    make_runner(tmp_path / 'd', [knn_hook(k=50)]).train()
    assert log_text(tmp_path / 'd').count('k=50, but train_dataloader has 10 images') == 1


def test_class_folders_that_differ_stop_a_run_before_its_first_step(tmp_path):
    bank = folder_loader(make_folder(tmp_path / 'train'))
    val = folder_loader(make_folder(tmp_path / 'val', ('dog', 'fox', 'owl')))
    losses = Losses()
    hook = knn_hook(train_dataloader=bank, val_dataloader=val, at_start=False)
    with pytest.raises(ValueError, match='KNNHook: train_dataloader and val_dataloader do not fit: .*missing cat'):
        make_runner(tmp_path / 'a', [hook, losses]).train()
    assert not losses.seen


@pytest.mark.parametrize('collate_fn, workers', [('default_collate', 0), ('default_collate', 1), ('pseudo_collate', 0)])
def test_images_of_several_sizes_are_answered_with_the_pipeline_and_the_remedy(tmp_path, collate_fn, workers):
    bank = folder_loader(make_folder(tmp_path / 'train', ('cat',)))
    val = folder_loader(make_folder(make_folder(tmp_path / 'val', ('cat',)), ('cat',), number=1, size=40))
    val.update(num_workers=workers, collate_fn=dict(type=collate_fn))
    sizes = '' if workers else r' \(\[3, 40, 40\] and \[3, 32, 32\]\)'
    sentence = rf'val_dataloader.dataset.pipeline gives images of several sizes in one batch{sizes}: .*CenterCrop'
    with pytest.raises(ValueError, match=sentence):
        make_runner(tmp_path / 'a', [knn_hook(train_dataloader=bank, val_dataloader=val)]).train()


def test_images_that_cannot_be_read_are_left_out_and_said_once(tmp_path):
    bank = folder_loader(make_folder(tmp_path / 'train', ('cat', 'dog')))
    val = folder_loader(make_folder(tmp_path / 'val', ('cat', 'dog')))
    (tmp_path / 'val/cat/2.png').write_bytes(b'')  # a dog would stand in for it
    make_runner(tmp_path / 'a', [knn_hook(train_dataloader=bank, val_dataloader=val)]).train()
    assert log_text(tmp_path / 'a').count('kNN: 1 of 6 images of val_dataloader cannot be read: it is left out') == 1


def test_the_line_of_a_curve_reads_as_promised():
    records = [dict(label='untrained', top1={20: 29.5}), dict(label='epoch 1', top1={20: 33.0})]
    assert describe_curve(records, 20) == 'kNN top-1 (k=20): 29.5 (untrained) -> 33.0 (epoch 1), +3.5 points'
    assert describe_curve(records[:1], 20) == 'kNN top-1 (k=20): 29.5 (untrained)'


def _rank(folder):
    os.environ['LOCAL_RANK'] = str(torch.distributed.get_rank())  # mmengine reads it where it wraps the model
    # Odd sizes, so that the ranks' shares are unequal; on each rank the bank is smaller than k.
    hook = knn_hook(
        train_dataloader=loader(ToyImages(11, views=1), batch_size=4),
        val_dataloader=loader(ToyImages(9, views=1), batch_size=4),
        k=(7, 1),
    )
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    runner = make_runner(folder, [hook], epochs=1, launcher='pytorch', cfg=dict(model_wrapper_cfg=wrapper))
    runner.train()
    model = runner.model.module
    bank, val = (share(dataloader) for dataloader in hook_of(runner)._loaders)
    features, labels = extract_features(model, val)
    return dict(
        curve=hook_of(runner).curve,
        shares=(len(bank.sampler), len(val.sampler)),
        features=gather_shares(features, 9),
        labels=gather_shares(labels, 9),
    )


def test_two_processes_count_every_sample_once_and_agree_with_one_that_loads_their_checkpoint(tmp_path):
    """Each has followed its own batches, and no hook but KNNHook looks after batch norm's running statistics."""
    (tmp_path / 'meet').mkdir()
    ranks = in_processes(_rank, tmp_path / 'meet', str(tmp_path / 'run'))
    assert [rank['shares'] for rank in ranks] == [(6, 5), (5, 4)]
    model = ToySiamese()
    model.load_state_dict(torch.load(tmp_path / 'run/epoch_1.pth', weights_only=False)['state_dict'])
    images = [DataLoader(ToyImages(length, views=1), 4, collate_fn=collate) for length in (11, 9)]
    bank, val = (extract_features(model, dataloader)[0] for dataloader in images)
    for rank in ranks:
        assert torch.allclose(rank['features'], val, atol=1e-6)
        assert rank['labels'].tolist() == [index % 2 for index in range(9)]
    predicted = knn_predict(val, bank, torch.arange(11) % 2, 7)[7]
    accuracy = 100 * (predicted == torch.arange(9) % 2).float().mean().item()
    assert [rank['curve'][-1] for rank in ranks] == [(1, pytest.approx(accuracy))] * 2
    assert len(ranks[0]['curve']) == 2
