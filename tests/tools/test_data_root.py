"""--data-root: another folder of images under a config, in the channel order that the config's steps expect."""

from argparse import Namespace
from runpy import run_path

import numpy as np
import pytest
from mmengine import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from train_runs import ROOT, arguments

from viewplug.config.data_root import set_data_root
from viewplug.config.switches import place_views
from viewplug.config.training_data import UserError, check_data
from viewplug.datasets.whole_images import images_as_loaded
from viewplug.evaluation.crop_images import images_and_crop
from viewplug.registry import DATASETS, TRANSFORMS
from viewplug.run.launch import read_config

CONFIGS = {
    'mocov2_r50.py': 'bgr',
    'contrastive_crop/tiny/moco_rcrop.py': 'bgr',
    'cifar10/mocov2_r18.py': 'rgb',
    'contrastive_crop/stl10/moco_rcrop.py': 'rgb',
    'contrastive_crop/cifar10/simclr_ccrop.py': 'rgb',
}
PICTURES = dict(probe_invariances='pictures', browse_attention='whole_images')


@pytest.fixture
def red(tmp_path):
    (tmp_path / 'red').mkdir()
    for name in 'ab':
        Image.fromarray(np.full((40, 40, 3), (255, 0, 0), np.uint8)).save(tmp_path / f'red/{name}.png')
    return str(tmp_path / 'red')


@pytest.mark.parametrize('config', CONFIGS)
def test_a_folder_is_read_in_the_channel_order_of_the_configs_own_data(config, red, tmp_path):
    own = read_config(ROOT / f'configs/{config}', arguments(f'configs/{config}', tmp_path))
    cfg = read_config(ROOT / f'configs/{config}', arguments(f'configs/{config}', tmp_path, data_root=red))
    assert cfg.data_preprocessor.to_rgb == own.data_preprocessor.to_rgb == (CONFIGS[config] == 'bgr')
    init_default_scope('mmpretrain')
    data = DATASETS.build(cfg.train_dataloader.dataset)
    (image,) = images_as_loaded(data, [0])
    assert image[:, 0, 0].tolist() == ([255, 0, 0] if CONFIGS[config] == 'rgb' else [0, 0, 255])
    steps = next(step for step in cfg.train_dataloader.dataset.pipeline if 'MultiView' in step.type).transforms[0]
    grey = TRANSFORMS.build(next(step for step in steps if 'Grayscale' in step.type) | dict(prob=1.0))
    assert grey(dict(img=image.permute(1, 2, 0).numpy()))['img'][0, 0].tolist() == [76] * 3  # 0.2989 * 255


LOADED, TURNED = ['LoadImageFromFile'], ['LoadImageFromFile', 'NumpyToPIL', 'PILToNumpy']


@pytest.mark.parametrize(
    ('dataset', 'to_rgb', 'steps'),
    [
        ('MyImages', True, LOADED),  # not known: a pre-processor that swaps is for BGR
        ('MyImages', False, TURNED),
        ('viewplug.TarShards', True, LOADED),
        ('viewplug.TarShards', False, LOADED),  # BGR in training too
        ('CIFAR10', True, TURNED),
    ],
)
@pytest.mark.parametrize('switch', ['to_rgb', 'bgr_to_rgb'])
def test_a_pre_processor_inside_the_model_counts_where_the_data_sets_order_is_not_known(
    switch, dataset, to_rgb, steps, red
):
    data = dict(type=dataset, data_root='own', pipeline=[])
    cfg = Config(dict(model=dict(data_preprocessor={switch: to_rgb}), train_dataloader=dict(dataset=data)))
    set_data_root(cfg, red)
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == steps


@pytest.mark.parametrize('config', ['mocov2_r50.py', 'cifar10/mocov2_r18.py'])
def test_boxes_are_browsed_on_it_without_the_configs_own_data(config, red, tmp_path):
    cfg = read_config(ROOT / f'configs/{config}', arguments(f'configs/{config}', tmp_path))
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    init_default_scope('mmpretrain')
    images, crop = images_and_crop(cfg, red)
    image, readable = images[1]
    assert len(images) == 2 and readable and image.shape[1:] == crop.scale
    assert image[:, 0, 0].tolist() == ([255, 0, 0] if CONFIGS[config] == 'rgb' else [0, 0, 255])
    assert cfg.train_dataloader.dataset.data_root == str(tmp_path / 'nowhere')


@pytest.mark.parametrize('config', ['mocov2_r50.py', 'cifar10/mocov2_r18.py'])
@pytest.mark.parametrize('views', ['sample', 'device'])
def test_tools_that_look_at_whole_images_read_it_likewise(config, views, red, tmp_path):
    options = dict(views=views, in_memory=False)
    cfg = read_config(ROOT / f'configs/{config}', arguments(f'configs/{config}', tmp_path, options=options))
    init_default_scope('mmpretrain')
    pictures, whole_images = (run_path(ROOT / f'tools/{tool}.py')[name] for tool, name in PICTURES.items())
    probed = pictures(cfg, Namespace(data_root=red, images=(1, 1)))
    attended = whole_images(cfg, Namespace(data_root=red, num=2), 16)
    for images in (*probed, attended):
        assert images[0, :, 0, 0].tolist() == ([255, 0, 0] if CONFIGS[config] == 'rgb' else [0, 0, 255])


def test_a_config_that_learns_from_labels_does_not_take_a_folder_and_is_not_told_to(red, tmp_path):
    config = 'configs/adclr/finetune_vit_small_in1k.py'
    with pytest.raises(UserError, match='^--data-root .*red is for pre-training.*dataset.data_root=DIR'):
        read_config(ROOT / config, arguments(config, tmp_path, data_root=red))
    cfg = read_config(ROOT / config, arguments(config, tmp_path))
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='^no training data at .*nowhere.*, or set data_root in the config$'):
        check_data(cfg)


def test_a_file_that_a_run_in_memory_has_written_down_takes_a_folder_too(red, tmp_path):
    made = Config.fromfile(ROOT / 'configs/mocov2_r50.py')
    made.merge_from_dict({'views': 'device', 'in_memory': True})
    place_views(made)
    made.dump(tmp_path / 'dumped.py')
    cfg = read_config(tmp_path / 'dumped.py', arguments(tmp_path / 'dumped.py', tmp_path, data_root=red))
    init_default_scope('mmpretrain')
    batch = next(iter(Runner.build_dataloader({**cfg.train_dataloader, 'batch_size': 2}, seed=0)))
    assert batch['inputs'].shape == (2, 3, 40, 40)
