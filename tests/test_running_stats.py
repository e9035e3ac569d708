"""Running statistics of several processes are one network's, where they are used."""

import torch
from mmengine.dist import get_rank
from processes import in_processes
from torch import nn

from viewplug import running_stats
from viewplug.running_stats import average_running_stats


def network() -> nn.Module:
    torch.manual_seed(1)
    last = nn.BatchNorm2d(4, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), last)
    model.register_buffer('queue', torch.full((2, 3), float(get_rank())))
    return model


def on_a_rank() -> dict[str, dict[str, torch.Tensor]]:
    images = torch.randn(3, 6, 3, 8, 8, generator=torch.Generator().manual_seed(get_rank())) * (1 + get_rank())
    own, once, always = network(), network(), network()
    calls, all_reduce = [], torch.distributed.all_reduce
    for batch in images:
        for model in (own, once, always):
            model(batch)
        average_running_stats(always)
    torch.distributed.all_reduce = lambda *args, **kwargs: calls.append(1) or all_reduce(*args, **kwargs)
    average_running_stats(once, once[1])
    average_running_stats(nn.Linear(2, 2))
    assert len(calls) == 1
    return {name: model.state_dict() for name, model in dict(own=own, once=once, always=always).items()}


def test_statistics_averaged_once_are_those_averaged_at_every_step_and_nothing_else_is_touched(tmp_path):
    ranks = in_processes(on_a_rank, tmp_path, count=3)
    running = [key for key in ranks[0]['own'] if 'running' in key]
    assert len(running) == 4
    for key in running:
        own = torch.stack([rank['own'][key] for rank in ranks])
        assert not torch.equal(own[0], own[1])
        for rank in ranks:
            assert torch.equal(rank['once'][key], ranks[0]['once'][key])
            torch.testing.assert_close(rank['once'][key], own.mean(0))
            torch.testing.assert_close(rank['always'][key], own.mean(0))
    for number, rank in enumerate(ranks):
        assert rank['once']['queue'].eq(number).all()
        assert all(torch.equal(value, rank['own'][key]) for key, value in rank['once'].items() if key not in running)


def test_equal_statistics_stay_as_they_are_to_the_bit(monkeypatch):
    """Of seven processes, added up one after the other: a float32 mean of equal numbers need not be that number."""
    monkeypatch.setattr(running_stats, 'get_world_size', lambda: 7)
    monkeypatch.setattr(running_stats, 'all_reduce', lambda mine: mine.copy_(sum([mine.clone()] * 7)))
    model = nn.Sequential(nn.BatchNorm1d(999))
    model[0].running_var.uniform_()
    before = model[0].running_var.clone()
    average_running_stats(model)
    assert torch.equal(model[0].running_var, before)
    assert not torch.equal(sum([before] * 7) / 7, before)


def test_one_process_is_left_alone():
    model = network()
    model(torch.randn(4, 3, 8, 8))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    average_running_stats(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
