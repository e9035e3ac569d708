"""The bars of Fig. 8: which heads there are, what they are trained on, and that it goes on where it stopped."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import simclr_fig8, small_simclr
from benchmarks.simclr_fig8 import heads, main, neck_of, table


def test_heads_are_none_linear_and_with_one_hidden_layer():
    assert heads([16, 32])[1:] == [('none', None), ('linear', 16), ('linear', 32), ('mlp', 16), ('mlp', 32)]
    for (kind, width), layers in zip(heads([16])[1:], (0, 1, 2), strict=True):
        neck = small_simclr.build(neck_of(kind, width)).branches['image'].neck
        assert sum(isinstance(layer, torch.nn.Linear) for layer in neck.modules()) == layers
        images = torch.rand(4, 3, 32, 32)
        assert small_simclr.build(neck_of(kind, width)).encode(images)['image'].shape == (4, width or 64)


def test_both_views_are_cut_from_the_whole_image(monkeypatch):
    seen, model = [], small_simclr.build()
    loss_of = model.loss
    model.loss = lambda views: seen.append(views) or loss_of(views)
    images = torch.randint(0, 256, (6, 3, 48, 48), dtype=torch.uint8)
    small_simclr.train(model, images, [[], []], steps=1, batch_size=4, common=None)
    whole = small_simclr.normalised(images.float())
    for view in seen[0]:
        assert all(any(torch.equal(row, image) for image in whole) for row in view)
    calls = []
    monkeypatch.setattr(simclr_fig8, 'linear_top1', lambda *args: 0.0)
    monkeypatch.setattr(simclr_fig8, 'train', lambda *args, **kwargs: calls.append((args, kwargs)) or RUN)
    simclr_fig8.run('mlp', 16, 0, 2, dict(train=small_simclr.Images(images, None), bank=None, val=None))
    (_, _, branches, _), options = calls[0]
    assert options['common'] is None and [len(views) for views in branches] == [1, 1]
    cut = branches[0][0](images.float(), generator=torch.Generator().manual_seed(0))[0]
    assert cut.shape == (6, 3, 32, 32)


RUN = small_simclr.Run(None, 2, 0.0, 0.0)


def test_finished_runs_are_kept(tmp_path, monkeypatch, capsys):
    store, out = tmp_path / 'store.jsonl', tmp_path / 'fig8'
    arguments = ['fig8', '--steps', '2', '--images', '30', '60', '20', '--widths', '16', '--seeds', '0', '1']
    monkeypatch.setattr(sys, 'argv', [*arguments, '--store', str(store), '--out', str(out), '--share', '1/2'])
    assert main() == 0
    assert len(store.read_text().splitlines()) == 1 + 4
    first = store.read_text()
    monkeypatch.setattr(sys, 'argv', [*arguments, '--store', str(store), '--out', str(out)])
    assert main() == 0
    assert store.read_text().startswith(first) and len(store.read_text().splitlines()) == 1 + 8
    rows = json.loads(out.with_suffix('.json').read_text())['rows']
    assert [(row['kind'], row['seed']) for row in rows] == [
        (kind, s) for kind in ('untrained', *simclr_fig8.KINDS) for s in (0, 1)
    ]
    assert out.with_suffix('.png').stat().st_size > 5000 and '6 runs of 2 steps' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [*arguments, '--store', str(store), '--out', str(out), '--steps', '3'])
    assert main() == 2 and 'name another --store' in capsys.readouterr().err


def test_table_has_mean_and_spread():
    rows = [dict(kind='none', width=None, seed=s, steps=5, top1=t) for s, t in ((0, 20.0), (1, 22.0))]
    rows += [dict(kind='mlp', width=16, seed=0, steps=5, top1=30.0)]
    rows += [dict(kind='untrained', width=None, seed=s, top1=t) for s, t in ((0, 10.0), (1, 12.0))]
    text = table(rows, dict(steps=5))
    assert '| none | 21.0 ± 1.4 |' in text and '| linear |  |' in text and '| mlp | 30.0 |' in text
    assert 'has 11.0 ± 1.4' in text
