"""ContrastiveCrop in mmpretrain's own configs: only the crop swapped and the hook added."""

from pathlib import Path

import mmpretrain
import numpy as np
import pytest
from mmengine import Config
from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from viewplug.transforms.contrastive_crop import ContrastiveCrop

CONFIGS = dict(
    mocov2='mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py',
    simclr='simclr/simclr_resnet50_8xb32-coslr-200e_in1k.py',
    byol='byol/byol_resnet50_16xb256-coslr-200e_in1k.py',
    simsiam='simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py',
)
NUMBER = 12


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """Twelve images in two classes, laid out as mmpretrain's ImageNet wants them."""
    root = tmp_path_factory.mktemp('imagenet')
    rng = np.random.default_rng(0)
    for index in range(NUMBER):
        image = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        top, left = rng.integers(0, 32, 2)
        image[top : top + 16, left : left + 16] = rng.integers(180, 255, 3)
        path = root / 'train' / f'n{index % 2:08d}' / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


class Watch(Hook):
    """What the crops' store holds at the beginning of each epoch, after the update."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.boxes, self.losses = [], []

    def before_train_epoch(self, runner):
        self.boxes.append(crop_of(runner).box_store.read_all())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(float(outputs['loss']))


def crop_of(runner, kind=-1):
    return runner.train_dataloader.dataset.pipeline.transforms[1].pipelines[kind].transforms[0]


def config_of(name, root, work_dir):
    cfg = Config.fromfile(Path(mmpretrain.__file__).parent / '.mim/configs' / CONFIGS[name])
    # The two changes that a user makes.
    crops = [view[0] for view in cfg.train_dataloader.dataset.pipeline[1].transforms]
    assert len(crops) == 1 + (name == 'byol')
    for crop in crops:
        assert crop.type == 'RandomResizedCrop'
        crop.type = 'viewplug.ContrastiveCrop'
    cfg.custom_hooks = [
        *cfg.get('custom_hooks', []),
        dict(type='viewplug.LocalizationHook', start=1, interval=1, threshold=0.5),
    ]
    # What makes it a test: data, sizes, lengths.
    for crop in crops:
        crop.scale = 64
    cfg.merge_from_dict(
        {
            'train_dataloader.dataset.data_root': str(root),
            'train_dataloader.dataset.metainfo': dict(classes=('even', 'odd')),
            'train_dataloader.dataset.serialize_data': False,
            'train_dataloader.batch_size': 4,
            'train_dataloader.num_workers': 1,
            'model.backbone.depth': 18,
            'model.backbone.stem_channels': 8,
            'model.backbone.base_channels': 8,
            'model.neck.in_channels': 64,
            'train_cfg.max_epochs': 3,
            'randomness.seed': 0,
        }
    )
    for width in ('hid_channels', 'out_channels'):
        cfg.model.neck[width] = 16
    if 'predictor' in cfg.model.head:
        cfg.model.head.predictor.update(in_channels=16, hid_channels=16, out_channels=16)
    if name == 'mocov2':
        cfg.model.update(queue_len=24, feat_dim=16)
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{name}_{work_dir.name}'
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_an_unmodified_config_trains_and_updates_boxes_that_change_its_crops(name, imagenet, tmp_path):
    runner, watch = Runner.from_cfg(config_of(name, imagenet, tmp_path)), Watch()
    runner.register_hook(watch)
    runner.train()
    assert type(runner.model).__name__.lower() == name.replace('v2', '')
    assert len(watch.losses) == 9 and np.isfinite(watch.losses).all()
    none, first, second = watch.boxes
    assert none is None and first.shape == second.shape == (NUMBER, 4)
    assert not np.array_equal(first, second)
    assert np.array_equal(crop_of(runner, 0).box_store.read_all(), second)
    area = (second[:, 2] - second[:, 0]) * (second[:, 3] - second[:, 1])
    assert (area > 0).all() and (area < 1).any() and (second >= 0).all() and (second <= 1).all()
    # With the same random numbers (small) crops are others where the box is smaller, the same where it is the image.
    dataset, crop = runner.train_dataloader.dataset, crop_of(runner)
    load = Compose(dataset.pipeline.transforms[:1])
    changed = []
    for index in range(NUMBER):
        image = load(dataset.get_data_info(index))
        boxed, free = [], []
        for seed in range(30):
            for crops, localize in ((boxed, True), (free, False)):
                np.random.seed(seed)
                other = ContrastiveCrop(64, (0.005, 0.01), localize=localize, store=crop.box_store)
                crops.append(tuple(other(dict(image))['crop_box']))
        changed.append(boxed != free)
    assert all(changed[index] for index in range(NUMBER) if area[index] < 0.75) and any(changed)
    assert not any(changed[index] for index in range(NUMBER) if area[index] == 1)
