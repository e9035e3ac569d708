"""Names resolve in anybody's config, and importing viewplug costs nothing."""

import json
import statistics
import subprocess
import sys
import time

import pytest
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from toys import ToyBackbone

from viewplug.registry import MODELS, TRANSFORMS
from viewplug.registry import own_names as own_names_in

CONFIG = """
{extra}
view = [dict(type='viewplug.RandomResizedCrop', scale=16), dict(type='mmpretrain.RandomFlip', prob=0.5)]
dataset = dict(
    type='viewplug.ShapeScenes', num_images=2, image_size=32,
    pipeline=[
        dict(type='viewplug.MultiView', num_views=2, transforms=[view]),
        dict(type='mmpretrain.PackInputs', meta_keys=('sample_idx', 'crop_box', 'flip')),
    ],
)
hook = dict(type='viewplug.EpochSeedHook')
model = dict(
    type='viewplug.Siamese',
    backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
    target=dict(type='viewplug.MomentumTarget'),
    branches=dict(image=dict(
        neck=dict(type='viewplug.MLPNeck', out_channels=16),
        head=dict(type='viewplug.QueueHead', queue_len=8, feat_dim=16, loss=dict(type='viewplug.InfoNCELoss')),
    )),
)
"""

BUILD_ALL = """
import json, sys
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, DefaultScope
cfg = Config.fromfile(sys.argv[1])
if cfg.get('custom_imports'):
    assert 'viewplug' in sys.modules
else:
    assert not any(name.startswith('viewplug') for name in sys.modules)
if cfg.get('default_scope'):
    DefaultScope.get_instance('test', scope_name=cfg.default_scope)
dataset, hook, model = DATASETS.build(cfg.dataset), HOOKS.build(cfg.hook), MODELS.build(cfg.model)
sample = dataset[0]
print(json.dumps(dict(
    types=[type(thing).__name__ for thing in (dataset, hook, model, model.branches.image.head.loss_module)],
    crop_boxes=list(sample['data_samples'].crop_box.shape))))
"""


def python(*args, cwd) -> str:
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    'extra',
    [
        '',
        "default_scope = 'mmpretrain'",
        "default_scope = 'mmdet'",
        "default_scope = 'mmdet'\ncustom_imports = dict(imports=['viewplug'], allow_failed_imports=False)",
    ],
    ids=['no scope', 'mmpretrain', 'mmdet', 'mmdet with custom_imports'],
)
def test_prefixed_names_build_from_a_config_that_lies_anywhere(extra, tmp_path):
    if 'mmdet' in extra:
        pytest.importorskip('mmdet')
    (tmp_path / 'config.py').write_text(CONFIG.format(extra=extra))
    found = json.loads(python('-c', BUILD_ALL, 'config.py', cwd=tmp_path).splitlines()[-1])
    assert found == dict(types=['ShapeScenes', 'EpochSeedHook', 'Siamese', 'InfoNCELoss'], crop_boxes=[2, 4])


def test_a_config_of_imported_classes_builds_the_same_model(tmp_path):
    from mmengine.config import Config

    (tmp_path / 'dict_style.py').write_text(CONFIG.format(extra=''))
    lazy = CONFIG.format(
        extra='from mmengine.config import read_base\n'
        'from mmpretrain.datasets import PackInputs, RandomFlip\n'
        'from mmpretrain.models import ResNet\n'
        'from viewplug.datasets.shape_scenes import ShapeScenes\n'
        'from viewplug.frameworks import Siamese\n'
        'from viewplug.heads import QueueHead\n'
        'from viewplug.hooks.epoch_seed import EpochSeedHook\n'
        'from viewplug.losses import InfoNCELoss\n'
        'from viewplug.necks import MLPNeck\n'
        'from viewplug.targets import MomentumTarget\n'
        'from viewplug.transforms import MultiView, RandomResizedCrop\n'
    )
    (tmp_path / 'lazy_style.py').write_text(unquoted(lazy))
    models = []
    for name in ('dict_style.py', 'lazy_style.py'):
        cfg = Config.fromfile(tmp_path / name)
        models.append(ROOT_MODELS.build(cfg.model))
    assert 'type=Siamese' in (tmp_path / 'lazy_style.py').read_text()
    first, second = (model.state_dict() for model in models)
    assert {key: value.shape for key, value in first.items()} == {key: value.shape for key, value in second.items()}
    assert str(models[0]) == str(models[1])


def unquoted(config: str) -> str:
    """type='viewplug.X' -> type=X"""
    import re

    return re.sub(r"type='\w+\.(\w+)'", r'type=\1', config)


@pytest.mark.parametrize('scope', [None, 'mmpretrain', 'mmdet'])
def test_our_registries_know_our_bare_names_under_any_scope(scope):
    if scope:
        pytest.importorskip(scope)
    with DefaultScope.overwrite_default_scope(scope):
        neck = MODELS.build(dict(type='MLPNeck', in_channels=8))
        head = MODELS.build(dict(type='QueueHead', queue_len=4, loss=dict(type='InfoNCELoss')))
        crop = TRANSFORMS.build(dict(type='RandomResizedCrop', scale=16))
    kinds = {type(part).__module__.split('.')[0] for part in (neck, head, head.loss_module, crop)}
    assert kinds == {'viewplug'}


@pytest.mark.parametrize(('wrong', 'right'), [('viewplug.HCLNek', 'HCLNeck'), ('QueueHed', 'QueueHead')])
def test_a_misspelt_name_is_answered_with_the_nearest_of_ours(wrong, right):
    with pytest.raises(KeyError, match=f'{wrong} is not in the model registry, did you mean .*viewplug.{right}'):
        MODELS.build(dict(type=wrong))


def test_a_key_error_inside_a_part_is_not_taken_for_a_misspelt_name():
    @MODELS.register_module(name='RaisesForATest')
    class Raises:
        def __init__(self):
            raise KeyError('queue_length')

    try:
        with pytest.raises(KeyError, match='queue_length') as error:
            MODELS.build(dict(type='RaisesForATest'))
        assert 'did you mean' not in str(error.value)
    finally:
        MODELS.module_dict.pop('RaisesForATest')


def test_every_part_of_the_docs_is_registered():
    names = own_names_in(MODELS)
    for name in ('Siamese', 'SharedTarget', 'StopGradTarget', 'MomentumTarget', 'MLPNeck', 'HCLNeck', 'QueueHead'):
        assert name in names
    assert ToyBackbone.__name__ not in names


def test_importing_viewplug_imports_neither_torch_nor_mmengine(tmp_path):
    code = "import sys, viewplug; print(sorted({'torch', 'mmengine', 'numpy', 'mmcv'} & set(sys.modules)))"
    assert python('-c', code, cwd=tmp_path).strip() == '[]'


def test_importing_viewplug_takes_less_than_a_tenth_of_a_second(tmp_path):
    def seconds(code: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            python('-c', code, cwd=tmp_path)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    assert seconds('import viewplug') - seconds('pass') < 0.1


@pytest.mark.parametrize(('name', 'hiding'), [('CosineLoss', 'viewplug.losses.cosine'), ('SwAVHead', 'mmpretrain')])
def test_a_class_of_somebodys_own_that_a_librarys_of_the_same_name_hides_is_refused(name, hiding, monkeypatch):
    own = type(name, (ToyBackbone,), {})
    monkeypatch.setitem(ROOT_MODELS.module_dict, name, own)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        with pytest.raises(
            ValueError, match=rf"type='{name}' is {__name__}.{name}, .* and {hiding}.*{name}, which would"
        ) as refused:
            MODELS.build(dict(type=name))
        scope = hiding.split('.')[0]
        assert str(refused.value).endswith(f"type='mmengine.{name}' or type='{scope}.{name}'")
        assert type(MODELS.build(dict(type=own))) is type(MODELS.build(dict(type=f'mmengine.{name}'))) is own
