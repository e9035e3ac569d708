"""The step fed by BatchViews against constant tensors: what each sees, and the share that is reported."""

import json
import sys
from pathlib import Path

import pytest
import torch
from pretend_gpu import pretend_gpu

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import feed_cost
from benchmarks.feed_cost import WORK, FedStep, fed_config, main, row, table


@pytest.fixture(autouse=True)
def kept_settings(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', False)
    monkeypatch.setattr(feed_cost, 'keep_freed_memory', lambda: None)
    monkeypatch.setattr(feed_cost, 'fed_config', narrow)
    yield
    torch.set_num_threads(1)


def narrow(*given):
    cfg = fed_config(*given)
    cfg.model.backbone.update(stem_channels=8, base_channels=8)
    return cfg


def test_fed_steps_see_new_views_and_constant_steps_the_same():
    step, seen = FedStep(WORK[32], 2, 'cpu'), []
    step.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append([view.clone() for view in kwargs['inputs']]), with_kwargs=True
    )
    before = step.model.backbone.conv1.weight.clone()
    losses = [step(fed) for fed in (True, False, True, False)]
    assert all(loss > 0 for loss in losses) and not torch.equal(step.model.backbone.conv1.weight, before)
    assert all(view.shape == (2, 3, 32, 32) for views in seen for view in views)
    assert torch.equal(seen[1][0], seen[3][0]) and torch.equal(seen[1][1], seen[3][1])
    assert not torch.equal(seen[0][0], seen[2][0]) and not torch.equal(seen[0][0], seen[1][0])


@pytest.mark.parametrize('size', WORK)
def test_images_lie_in_memory_and_views_are_the_configs(size):
    cfg = fed_config(WORK[size], 2, 'cpu', None)
    assert cfg.train_dataloader.dataset.type == 'viewplug.InMemoryDataset'
    assert cfg.train_dataloader.num_workers == 0 and cfg.train_dataloader.batch_size == 2
    assert cfg.data_preprocessor.type == 'viewplug.BatchViews' and cfg.data_preprocessor.num_views == 2
    assert cfg.data_preprocessor.transforms[0][0].scale == size
    assert cfg.model.backbone.depth == (50 if size == 224 else 18)


def test_the_share_is_the_constant_steps_time_over_the_fed_ones():
    one = row(96, 10, 'after each step', fed=[2.0, 2.0, 4.0], constant=[1.9, 1.8, 4.0])
    assert one['share_percent'] == pytest.approx(95)
    assert one['share_quartiles'] == pytest.approx([92.5, 97.5])
    assert '95.0 (92.5 to 97.5) | 5.0 | 5.3 |' in table([one])


def test_a_toy_run_writes_a_table_and_its_numbers(tmp_path):
    toy = ['--sizes', '32', '--batch', '2', '--rounds', '2', '--steps', '1', '--threads', '1', '--amp', 'bf16']
    main([*toy, '--out', str(tmp_path / 'folder/feed')])
    kept = json.loads((tmp_path / 'folder/feed.json').read_text())
    assert kept['setting']['amp'] == 'bf16' and kept['rows'][0]['batch'] == 2
    assert (tmp_path / 'folder/feed.md').read_text() == table(kept['rows']) + '\n'


@pytest.mark.parametrize('wrong', ['--sizes 32 96 --batch 1 2 3', '--amp fp16'])
def test_options_that_do_not_fit_are_refused(wrong):
    with pytest.raises(SystemExit):
        main(wrong.split())


def test_a_gpu_is_measured_with_losses_read_at_once_and_late(tmp_path):
    toy = ['--sizes', '32', '--batch', '2', '--rounds', '2', '--steps', '3', '--threads', '1', '--device', 'cuda']
    with pretend_gpu() as gpu:
        main([*toy, '--out', str(tmp_path / 'feed')])
    kept = json.loads((tmp_path / 'feed.json').read_text())
    assert [one['read'] for one in kept['rows']] == ['after each step', 'with the log']
    reads = [line for line in gpu.waits if 'losses[-1].item()' in line]
    assert len(reads) == (feed_cost.WARM_UP + 2) * 2 * 3
