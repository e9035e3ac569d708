"""docs/own_parts.md: its example is what it says, and trains."""

import importlib
import re

import pytest
import torch
from processes import in_processes
from train_runs import ROOT, demo

from viewplug.run.launch import train


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The page's files, in a folder that modules are found in."""
    page = (ROOT / 'docs/own_parts.md').read_text()
    files = re.findall(r'```python\n# (\w+\.py)\n(.*?)```', page, re.S)
    assert [name for name, _ in files] == ['barlow.py', 'barlow_r18.py']
    for name, text in files:
        (tmp_path / name).write_text(text.replace('/path/to/viewplug', str(ROOT)))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def gradients(embeddings, others):
    """Of this process's part of a batch: the loss, and what it asks of both views."""
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    rank = torch.distributed.get_rank() if world > 1 else 0
    mine = [z.chunk(world)[rank].clone().requires_grad_() for z in (embeddings, others)]
    found = importlib.import_module('barlow').BarlowHead().loss(*mine, pair=(0, 1))
    found['loss'].backward()
    return found['loss'].detach(), torch.stack([z.grad for z in mine]) / world


def test_the_example_is_the_papers_formula_and_two_processes_are_one(folder):
    torch.manual_seed(0)
    a, b = torch.randn(8, 5), torch.randn(8, 5)
    loss, grads = gradients(a, b)
    expected = 0.0
    for i in range(5):
        for j in range(5):
            x, y = (z - z.mean(dim=0) for z in (a.double(), b.double()))
            c = (x[:, i] * y[:, j]).sum() / (x[:, i].square().sum() * y[:, j].square().sum()).sqrt()
            expected += (1 - c) ** 2 if i == j else 0.005 * c**2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    parts = in_processes(gradients, folder, a, b)
    assert all(torch.allclose(part, loss) for part, _ in parts)
    assert torch.allclose(torch.cat([part for _, part in parts], dim=1), grads, atol=1e-5)


def test_the_example_trains_two_steps(folder):
    options = {'train_dataloader.dataset.num_images': 16, 'model.branches.image.neck.out_channels': 8}
    train(demo(folder / 'barlow_r18.py', folder, options))
    saved = torch.load(folder / 'work/epoch_1.pth', weights_only=False)
    assert saved['meta']['iter'] == 2
    log = '\n'.join(path.read_text() for path in folder.rglob('*.log'))
    assert 'image.off_diagonal' in log and not re.search(r'loss: (nan|inf)', log)
