"""A run that was killed and resumed equals the unbroken one, bit for bit."""

import pytest
import torch
from toy_runs import Diary, toy_runner

from viewplug.hooks.epoch_seed import EpochSeedHook


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_resumed_run_repeats_the_unbroken_one_to_the_bit(num_workers, tmp_path):
    unbroken, killed, resumed = Diary(), Diary(stop_before=2), Diary()
    settings = dict(max_epochs=4, num_workers=num_workers)
    whole = toy_runner(tmp_path / 'whole', [EpochSeedHook(), unbroken], **settings)
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        toy_runner(tmp_path / 'broken', [EpochSeedHook(), killed], **settings).train()
    again = toy_runner(tmp_path / 'broken', [EpochSeedHook(), resumed], resume=True, **settings)
    again.train()

    assert len(killed.losses) == len(resumed.losses) == len(unbroken.losses) / 2
    assert killed.losses + resumed.losses == unbroken.losses
    assert killed.boxes | resumed.boxes == unbroken.boxes
    expected, found = whole.model.state_dict(), again.model.state_dict()
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    assert {'branches.image.head.queue', 'branches.image.head.pointer', 'target.steps'} <= set(expected)
    assert expected['target.steps'] == len(unbroken.losses)
    assert expected['branches.image.head.pointer'] == (4 * 16) % 12
    momenta = [
        [state['momentum_buffer'] for state in runner.optim_wrapper.state_dict()['state'].values()]
        for runner in (whole, again)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*momenta, strict=True))
