"""read_checkpoint: anybody's file, nobody's code."""

import argparse
import os
import pickle
import re
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from checkpoints import pretrained
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file
from toy_runs import toy_runner

from viewplug.transfer import checkpoint as reading
from viewplug.transfer.checkpoint import read_checkpoint, weights_of


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


class GetattrBomb:
    """Reaches for a function through the one attribute that history buffers need."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    toy_runner(folder, max_epochs=1).train()
    return folder / 'epoch_1.pth'


def equal(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    return equal(a.__dict__, b.__dict__) if isinstance(a, HistoryBuffer) else a == b


def test_a_run_checkpoint_is_read_whole_history_optimiser_and_all(run):
    mine, theirs = read_checkpoint(run), torch.load(run, weights_only=False)
    assert set(mine) >= {'state_dict', 'optimizer', 'message_hub', 'meta', 'param_schedulers'}
    assert equal(mine, theirs)
    assert mine['message_hub']['log_scalars']['train/loss'].mean() > 0


def test_what_runs_may_hold_beside_weights_is_read_too(tmp_path):
    extra = dict(
        array=np.arange(3), number=np.float64(2), flag=np.bool_(True), config=ConfigDict(a=dict(b=1)), names={'x', 'y'}
    )
    extra['args'] = argparse.Namespace(arch='vit_small')
    pretrained(tmp_path / 'x.pth', extra=extra)
    found = read_checkpoint(tmp_path / 'x.pth')['extra']
    assert found['config'].a.b == 1 and found['args'].arch == 'vit_small' and found['names'] == {'x', 'y'}
    assert found['number'] == 2 and found['flag'] and found['array'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('old_torch', [False, True])
@pytest.mark.parametrize('name', ['bomb.pth', 'bomb.pkl'])
def test_a_pickle_bomb_is_a_sentence_and_writes_no_file(name, old_torch, tmp_path, monkeypatch):
    if old_torch:
        monkeypatch.delattr(torch.serialization, 'safe_globals', raising=False)
    path, target = tmp_path / name, tmp_path / 'written'
    content = dict(state_dict=dict(weight=torch.zeros(2)), meta=Bomb(target))
    if name.endswith('pth'):
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(dict(model=Bomb(target))))
    with pytest.raises(
        ValueError, match=r'was not opened: it asks for (posix|os|nt)\.system, and a checkpoint is data'
    ):
        read_checkpoint(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))
    assert target.exists(), 'the bomb is a dud'


@pytest.mark.parametrize('old_torch', [False, True])
def test_getattr_gives_history_buffers_their_methods_and_nothing_else(old_torch, tmp_path, monkeypatch):
    if old_torch:
        monkeypatch.delattr(torch.serialization, 'safe_globals', raising=False)
    torch.save(dict(meta=GetattrBomb()), tmp_path / 'getattr.pth')
    with pytest.raises(ValueError, match=r'builtins\.getattr'):
        read_checkpoint(tmp_path / 'getattr.pth')


def test_a_torch_that_cannot_extend_its_list_reads_the_same(run, monkeypatch):
    mine = read_checkpoint(run)
    monkeypatch.delattr(torch.serialization, 'safe_globals', raising=False)
    assert equal(mine, read_checkpoint(run))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'backbone: resnet50\n' * 50,
        b'<html>404</html>',
        b'PK\x03\x04' + b'\0' * 100,
    ],
)
@pytest.mark.parametrize('name', ['x.pth', 'x.pkl', 'x.safetensors'])
def test_a_foreign_file_is_one_sentence_with_its_name(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf'{name} .*{"is empty" if not content else "is no checkpoint"}') as caught:
        read_checkpoint(tmp_path / name)
    assert '\n' not in str(caught.value) and not re.search(r'\(\W*\w+\W*\)$', str(caught.value))


@pytest.mark.parametrize('share', [0.02, 0.5, 0.98])
def test_a_truncated_run_is_one_sentence(run, share, tmp_path):
    whole = run.read_bytes()
    (tmp_path / 'cut.pth').write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r'cut\.pth .* cut short in copying \([^.]+\)$') as caught:
        read_checkpoint(tmp_path / 'cut.pth')
    assert '\n' not in str(caught.value)
    assert share < 0.1 or str(caught.value).endswith('failed finding central directory)')  # whole words


def test_a_folder_a_missing_file_and_a_lone_tensor_say_what_they_are(tmp_path):
    with pytest.raises(ValueError, match='is a folder, not a checkpoint'):
        read_checkpoint(tmp_path)
    with pytest.raises(ValueError, match='no checkpoint .*nowhere.pth'):
        read_checkpoint(tmp_path / 'nowhere.pth')
    torch.save(torch.zeros(3), tmp_path / 'tensor.pth')
    with pytest.raises(ValueError, match='holds a Tensor, not a dict'):
        read_checkpoint(tmp_path / 'tensor.pth')
    with pytest.raises(ValueError, match=r's3://bucket/x.pth: only files'):
        read_checkpoint('s3://bucket/x.pth')


def test_addresses_are_downloaded_once_and_read_like_files(tmp_path, monkeypatch):
    state = pretrained(tmp_path / 'there.pth')
    torch.hub.set_dir(tmp_path / 'hub')
    for _ in range(2):
        found = weights_of(read_checkpoint(f'file://{tmp_path}/there.pth'))
        assert equal(found, state)
        (tmp_path / 'there.pth').unlink(missing_ok=True)
    with pytest.raises(ValueError, match='torchvision has no resnet51'):
        read_checkpoint('torchvision://resnet51')


def test_sets_of_weights_keep_apart_and_a_lone_one_keeps_its_names(tmp_path):
    weight = dict(weight=torch.ones(2))
    assert list(weights_of(weight)) == ['weight']
    assert list(weights_of(dict(state_dict=weight, epoch=1))) == ['weight']
    assert list(weights_of(dict(model=weight, optimizer=dict(state=torch.ones(1))))) == ['weight']
    assert list(weights_of(dict(student=weight, teacher=weight))) == ['student.weight', 'teacher.weight']
    assert list(weights_of(dict(state_dict=weight, ema_state_dict=weight))) == ['weight', 'ema_state_dict.weight']
    swapped = dict(state_dict=weight, ema_state_dict=dict(steps=torch.tensor(3), **weight))  # by mmengine's EMAHook
    assert list(weights_of(swapped)) == ['weight', 'not_averaged.steps', 'not_averaged.weight']
    assert weights_of(dict(meta={})) == {}


def test_safetensors_and_detectron2_pickles_are_read(tmp_path):
    save_file(dict(weight=torch.ones(2)), tmp_path / 'x.safetensors', dict(epochs='3'))
    found = read_checkpoint(tmp_path / 'x.safetensors')
    assert torch.equal(weights_of(found)['weight'], torch.ones(2)) and found['meta'] == dict(epochs='3')
    model = {'stem.conv1.weight': np.ones((2, 3), np.float32)}
    (tmp_path / 'x.pkl').write_bytes(pickle.dumps(dict(model=model, __author__='somebody')))
    assert torch.equal(weights_of(read_checkpoint(tmp_path / 'x.pkl'))['stem.conv1.weight'], torch.ones(2, 3))


@pytest.mark.parametrize('zipped', [True, False])
def test_a_pkl_that_torch_wrote_is_read_as_torchs(zipped, tmp_path):
    content = dict(model={'stem.conv1.weight': np.ones((2, 3), np.float32)}, __author__='somebody')
    torch.save(content, tmp_path / 'x.pkl', _use_new_zipfile_serialization=zipped)
    assert torch.equal(weights_of(read_checkpoint(tmp_path / 'x.pkl'))['stem.conv1.weight'], torch.ones(2, 3))


def test_the_allow_list_can_call_nothing_that_writes_or_imports():
    harmless = ('numpy', 'collections', 'argparse', 'mmengine', 'viewplug', 'builtins')
    assert all(value.__module__.split('.')[0] in harmless for value in reading._allowed().values())
    assert getattr not in reading._allowed().values()


def test_a_run_needs_no_timm():
    script = "import sys; sys.modules['timm'] = None; import viewplug.run.launch, viewplug.transfer.matching"
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_are_read_where_opencv_was_built_for_the_other_numpy(monkeypatch):
    """Such a wheel imports numpy 1.26's ``_core``, which has nothing in it."""
    wanted = reading._allowed()
    monkeypatch.setattr(np, 'core', np._core, raising=False)
    monkeypatch.setattr(np, '_core', ModuleType('numpy._core'))
    assert reading._allowed().keys() == wanted.keys()
