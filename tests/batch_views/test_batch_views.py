"""The data preprocessor that makes views, and the switch that puts it into a config."""

from functools import partial

import pytest
import torch
from mmengine import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import MODELS
from mmengine.registry import TRANSFORMS as ROOT
from mmpretrain.structures import DataSample
from toy_runs import PIPELINE, Diary, toy_runner
from toys import ToyImages

from viewplug.batch_views import BatchViews, Operator, to_device_views
from viewplug.batch_views.operator import uniform
from viewplug.batch_views.view import View
from viewplug.datasets import InMemoryDataset, take_batch
from viewplug.hooks.epoch_seed import EpochSeedHook

CUT = [dict(type='RandomResizedCrop', scale=16, crop_ratio_range=(0.2, 1.0)), dict(type='RandomFlip', prob=0.5)]
SMALL = [dict(type='RandomResizedCrop', scale=8, crop_ratio_range=(0.05, 0.2))]


def images(number: int = 6, size: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8)


def made(seed: int = 0, data=None, **changes) -> dict:
    preprocessor = BatchViews([CUT], 2, **changes)
    torch.manual_seed(seed)
    return preprocessor(dict(inputs=data if data is not None else images()), training=True)


def test_it_gives_the_views_of_each_kind_normalised_and_their_geometry():
    batch = images()
    preprocessor = BatchViews([CUT, SMALL], [2, 3], mean=[10, 20, 30], std=[2, 4, 8], to_rgb=True)
    out = preprocessor(dict(inputs=batch, sample_idx=torch.arange(6)), training=True)
    assert [tuple(view.shape) for view in out['inputs']] == [(6, 3, 16, 16)] * 2 + [(6, 3, 8, 8)] * 3
    assert out['geometry'].boxes.shape == (6, 5, 4) and out['geometry'].flips.shape == (6, 5)
    assert not out['geometry'].flips[:, 2:].any()
    assert out['sample_idx'].tolist() == list(range(6)) and out['data_samples'] is None
    fresh = BatchViews([CUT, SMALL], [2, 3])(dict(inputs=batch), training=True)['inputs']
    mean, std = torch.tensor([10.0, 20, 30]).view(3, 1, 1), torch.tensor([2.0, 4, 8]).view(3, 1, 1)
    for normalised, raw in zip(out['inputs'], fresh, strict=True):
        assert torch.allclose(normalised, (raw.flip(1) - mean) / std)


def test_the_geometry_says_where_the_pixels_come_from():
    ramp = torch.arange(64, dtype=torch.uint8).expand(4, 3, 64, 64).contiguous()  # a pixel's value is its column
    out = made(data=ramp)
    for view in range(2):
        middle = out['inputs'][view].mean((1, 2, 3)) + 0.5
        boxes = out['geometry'].boxes[:, view] * 64
        assert torch.allclose(middle, (boxes[:, 0] + boxes[:, 2]) / 2, atol=0.3)
        rising = out['inputs'][view][:, 0, 0, -1] > out['inputs'][view][:, 0, 0, 0]
        assert torch.equal(rising, ~out['geometry'].flips[:, view])


@MODELS.register_module()
class SwapChannels(Operator):
    """Somebody's own, which moves no pixel."""

    geometry = 'kept'

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def draw(self, n, generator=None):
        return dict(shift=uniform(n, generator))

    def run(self, images, shift):
        return images.flip(1)


@MODELS.register_module()
class Shear(SwapChannels):
    geometry = None


ROTATE = dict(type='mmpretrain.Rotate', angle=20.0, prob=1.0)


@pytest.mark.parametrize(
    ('step', 'said'),
    [
        (ROTATE, 'Rotate, which may move pixels'),
        (dict(type='viewplug.QuarterTurn'), 'QuarterTurn, which may move pixels'),
        (dict(type='RandomApply', transforms=[ROTATE]), 'RandomApply around Rotate, which may move pixels'),
        (dict(type='Shear'), 'Shear, which viewplug does not know'),
    ],
)
def test_where_a_turned_view_was_cut_is_unknown(step, said):
    geometry = BatchViews([CUT, [*CUT, step]], [1, 1])(dict(inputs=images()), training=True)['geometry']
    assert geometry.boxes.shape == (6, 0, 4)
    with pytest.raises(ValueError, match=rf'transforms\[1\] of viewplug.BatchViews has {said}'):
        geometry.overlap(0, 1)


def test_an_operator_of_ones_own_is_found_by_its_name_and_applied_by_its_chance():
    batch = images(64)
    view = View([dict(type='Resize', scale=24), dict(type='SwapChannels')])
    swapped = view(batch)[0].eq(batch.flip(1)).flatten(1).all(dim=1)
    kept = view(batch)[0].eq(batch).flatten(1).all(dim=1)
    assert view.unknown is None and 10 < swapped.sum() < 54 and 10 < kept.sum() < 54
    with pytest.raises(ValueError, match="SwapChannels: .*unexpected keyword argument 'p'; it takes prob"):
        View([*CUT, dict(type='SwapChannels', p=1)])


@pytest.mark.parametrize('prefix', ['', 'mmengine.'])
def test_a_transform_of_ones_own_with_the_name_of_an_operator_is_not_put_aside_for_it(prefix, monkeypatch):
    own = type('Solarize', (), dict(__module__='mylab'))
    monkeypatch.setitem(ROOT.module_dict, 'Solarize', own)
    with pytest.raises(ValueError, match=rf"type='{prefix}Solarize' is mylab.Solarize, .* set views='sample', or"):
        View([*CUT, dict(type=f'{prefix}Solarize', thr=128)])
    View([*CUT, dict(type='mmpretrain.Solarize', thr=128)])


def test_what_travels_beside_images_comes_as_one_tensor():
    own = [torch.full((2, 2), float(number)) for number in range(6)]
    given = dict(inputs=list(images()), heat=own, data_samples=[DataSample(metainfo=dict(sample_idx=7))] * 6)
    out = BatchViews([CUT], 2)(given, training=True)
    assert torch.equal(out['heat'], torch.stack(own)) and out['sample_idx'].tolist() == [7] * 6


@pytest.mark.parametrize('collated', [True, False])
def test_a_list_beside_images_that_is_not_one_entry_an_image_stays_a_list(collated):
    batch = images()
    pair = [torch.full((len(batch), 5), float(number)) for number in range(len(batch) if collated else 2)]
    out = BatchViews([CUT], 2)(dict(inputs=batch if collated else list(batch), pair=pair), training=True)
    assert isinstance(out['pair'], list) and all(map(torch.equal, out['pair'], pair))


@pytest.mark.parametrize('late', [False, True])
def test_a_shared_flip_mirrors_the_views_of_an_image_together(late):
    ramp = torch.arange(64, dtype=torch.uint8).expand(50, 3, 64, 64).contiguous()
    cut = [*CUT[:1], dict(type='Rotate', angle=5.0, prob=1.0, random_negative_prob=0.0)] if late else CUT[:1]
    torch.manual_seed(0)
    out = BatchViews([cut, SMALL], [2, 3], shared_flip=0.5)(dict(inputs=ramp), training=True)
    flips = out['geometry'].flips
    assert 10 < flips[:, 0].sum() < 40 and (flips == flips[:, :1]).all()
    for number, view in enumerate(out['inputs']):
        middle = view[:, 0, view.shape[2] // 2]  # a row: rotation leaves its pixels in order
        rising = middle[:, -2] >= middle[:, 1]
        assert torch.equal(rising | (middle[:, -2] == middle[:, 1]), ~flips[:, number])


def test_a_shared_flip_comes_on_top_of_flips_of_their_own():
    batch = images(40)
    always = [CUT[0], dict(type='RandomFlip', prob=1.0)]
    torch.manual_seed(0)
    plain = BatchViews([always], 2)(dict(inputs=batch), training=True)
    torch.manual_seed(0)
    both = BatchViews([always], 2, shared_flip=1.0)(dict(inputs=batch), training=True)
    assert plain['geometry'].flips.all() and not both['geometry'].flips.any()


def test_queries_are_small_crops_beside_the_views():
    batch = images()
    settings = dict(mean=[10, 20, 30], std=[2, 4, 8])
    out = BatchViews([CUT], 2, queries=dict(num=5, transforms=SMALL), **settings)(dict(inputs=batch), training=True)
    assert out['queries'].shape == (6, 5, 3, 8, 8) and out['query_boxes'].shape == (6, 5, 4)
    assert [tuple(view.shape) for view in out['inputs']] == [(6, 3, 16, 16)] * 2
    ramp = torch.arange(64, dtype=torch.uint8).expand(4, 3, 64, 64).contiguous()
    out = BatchViews([CUT], 2, queries=dict(num=5, transforms=SMALL))(dict(inputs=ramp), training=True)
    boxes = out['query_boxes'] * 64
    middle = out['queries'].mean((2, 3, 4)) + 0.5
    assert torch.allclose(middle, (boxes[..., 0] + boxes[..., 2]) / 2, atol=0.3) and middle.unique().numel() > 5


@pytest.mark.parametrize('queries', [dict(num=3), dict(num=3, transforms=SMALL, size=4)])
def test_queries_take_a_number_and_transforms(queries):
    with pytest.raises(ValueError, match='queries takes num and transforms, got num'):
        BatchViews([CUT], 2, queries=queries)


def test_without_training_images_are_only_normalised():
    batch = images()
    out = BatchViews([CUT], 2, mean=[127.5] * 3, std=[127.5] * 3)(dict(inputs=batch, data_samples=None))
    assert torch.allclose(out['inputs'], batch / 127.5 - 1, atol=1e-6)


def test_images_of_several_sizes_are_cut_inside_themselves():
    sizes = [(24, 30), (16, 40), (31, 9)]
    batch = [torch.full((3, *size), 200, dtype=torch.uint8) for size in sizes]
    out = made(data=batch)
    assert all(torch.allclose(view, torch.full_like(view, 200)) for view in out['inputs'])  # no padding in sight
    assert out['geometry'].boxes.amax() <= 1


def test_views_depend_on_the_seed_and_the_number_of_the_batch_only():
    batch = images()
    first, again, other = made(1, batch), made(1, batch), made(2, batch)
    assert all(torch.equal(a, b) for a, b in zip(first['inputs'], again['inputs'], strict=True))
    assert not torch.equal(first['inputs'][0], other['inputs'][0])
    preprocessor = BatchViews([CUT], 2)
    torch.manual_seed(1)
    one = preprocessor(dict(inputs=batch), training=True)
    torch.rand(5)  # what else draws random numbers does not move the crops
    two = preprocessor(dict(inputs=batch), training=True)
    assert torch.equal(one['inputs'][0], first['inputs'][0]) and not torch.equal(two['inputs'][0], first['inputs'][0])
    resumed = BatchViews([CUT], 2)
    resumed.load_state_dict({**preprocessor.state_dict(), '_extra_state': torch.tensor(1)})
    assert torch.equal(resumed(dict(inputs=batch), training=True)['inputs'][0], two['inputs'][0])


def test_a_compiled_step_has_the_same_views():
    def step(views, data):
        return views(data, True)['inputs'][0] * 2

    torch.manual_seed(0)
    data = dict(inputs=images())
    compiled = torch.compile(step, backend='eager')
    assert torch.equal(compiled(BatchViews([CUT], 2), data), step(BatchViews([CUT], 2), data))


def test_the_numbers_of_views_must_match_the_kinds():
    with pytest.raises(ValueError, match=r'num_views=\[2, 6\].*1 pipelines'):
        BatchViews([CUT], [2, 6])


def toy_config(**changes) -> Config:
    dataset = dict(type='ToyImages', pipeline=PIPELINE)
    loader = dict(batch_size=8, num_workers=4, persistent_workers=True, pin_memory=True, dataset=dataset)
    return Config(dict(model=dict(type='viewplug.Siamese'), train_dataloader=loader, **changes))


def test_the_switch_moves_the_views_and_keeps_the_rest():
    cfg = toy_config(data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[1, 2, 3], to_rgb=True))
    to_device_views(cfg)
    moved = cfg.data_preprocessor
    assert (moved.type, moved.num_views, moved.mean, moved.to_rgb) == ('viewplug.BatchViews', 2, [1, 2, 3], True)
    assert moved.transforms == PIPELINE[0]['transforms']
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == ['mmpretrain.PackInputs']
    assert cfg.train_dataloader.num_workers == 4 and cfg.train_dataloader.collate_fn.type == 'pseudo_collate'
    before = cfg.copy()
    to_device_views(cfg)
    assert cfg.to_dict() == before.to_dict()


def test_the_switch_passes_by_the_scope_of_steps_from_another_packages_config():
    scoped, plain = ([dict(PIPELINE[0], **more), PIPELINE[1]] for more in (dict(_scope_='mmpretrain'), {}))
    cfgs = [toy_config() for _ in range(2)]
    for cfg, pipeline in zip(cfgs, (scoped, plain), strict=True):
        cfg.train_dataloader.dataset.pipeline = pipeline
        to_device_views(cfg)
    assert cfgs[0].to_dict() == cfgs[1].to_dict()


def test_the_switch_into_memory_refuses_what_would_not_come_along():
    cfg = toy_config()
    cfg.train_dataloader.dataset.pipeline = [PIPELINE[0], dict(type='viewplug.PackViews', extra_keys=('heat', 'masks'))]
    with pytest.raises(
        ValueError, match=r'in_memory=True keeps images only, and PackViews\.extra_keys has heat beside'
    ):
        to_device_views(cfg, in_memory=True)


def test_the_switch_into_memory_needs_no_workers():
    cfg = toy_config()
    to_device_views(cfg, in_memory=True)
    loader = cfg.train_dataloader
    assert loader.dataset.type == 'viewplug.InMemoryDataset' and loader.dataset.dataset.pipeline == []
    assert loader.num_workers == 0 and 'persistent_workers' not in loader and 'pin_memory' not in loader


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate, dict(type=default_collate)])
def test_mmengines_collate_functions_are_replaced_by_name_or_themselves(collate):
    cfg = toy_config()
    cfg.train_dataloader.collate_fn = collate
    to_device_views(cfg)
    assert cfg.train_dataloader.collate_fn == dict(type='pseudo_collate')


def test_a_packing_step_of_somebodys_own_stays_with_its_arguments_and_not_in_memory():
    cfg = toy_config()
    own = cfg.train_dataloader.dataset.pipeline[1] = dict(type='mylab.PackInputs', extra=1)
    to_device_views(cfg)
    assert cfg.train_dataloader.dataset.pipeline == [own]
    with pytest.raises(ValueError, match=r"pipeline\.0\.type='mylab\.PackInputs' may do more: leave in_memory out"):
        to_device_views(cfg, in_memory=True)


def test_views_moved_by_hand_can_still_go_into_memory():
    cfg = toy_config()
    to_device_views(cfg)
    to_device_views(cfg, in_memory=True)
    assert cfg.train_dataloader.dataset.type == 'viewplug.InMemoryDataset'


def test_large_images_become_floats_a_part_at_a_time(monkeypatch):
    batch = images(7, 40)
    whole = made(3, batch)['inputs']
    monkeypatch.setattr('viewplug.batch_views.view._BLOCK_INPUT', 2 * 3 * 40 * 40)
    assert all(torch.equal(a, b) for a, b in zip(made(3, batch)['inputs'], whole, strict=True))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda cfg: cfg.model.update(type='mmpretrain.MoCo'), "viewplug.Siamese', got 'mmpretrain.MoCo'"),
        (lambda cfg: cfg.train_dataloader.dataset.update(pipeline=[]), 'one MultiView'),
        (
            lambda cfg: cfg.train_dataloader.dataset.pipeline[0].update(type='OwnMultiView'),
            r"pipeline\.0\.type='OwnMultiView' is another; set views='sample'",
        ),
        (
            lambda cfg: cfg.train_dataloader.dataset.pipeline.insert(0, dict(type='mylab.QueryCrops')),
            r"pipeline\.0\.type='mylab\.QueryCrops' is another",
        ),
        (
            lambda cfg: cfg.update(data_preprocessor=dict(type='mylab.SelfSupDataPreprocessor')),
            r"data_preprocessor\.type='mylab\.SelfSupDataPreprocessor' is another",
        ),
        (
            lambda cfg: cfg.train_dataloader.dataset.pipeline[1].update(meta_key=('img_path',)),
            r'pipeline\.1: mmpretrain\.PackInputs has no argument meta_key, did you mean meta_keys\?',
        ),
        (
            lambda cfg: cfg.train_dataloader.update(collate_fn=dict(type='mylab.mixup_collate')),
            r"collate_fn={'type': 'mylab\.mixup_collate'} is another; set views='sample'",
        ),
        (
            lambda cfg: cfg.train_dataloader.update(collate_fn=dict(typ='default_collate')),
            r"collate_fn={'typ': 'default_collate'} is another",
        ),
        (
            lambda cfg: cfg.train_dataloader.update(collate_fn=take_batch),
            "collate_fn=<function take_batch .*> is another; set views='sample'",
        ),
        (
            lambda cfg: cfg.train_dataloader.update(collate_fn=partial(default_collate)),
            r'collate_fn=functools\.partial.* is another',
        ),
    ],
)
def test_what_cannot_be_moved_is_said(change, message):
    cfg = toy_config()
    change(cfg)
    with pytest.raises(ValueError, match=message):
        to_device_views(cfg)


class ColorJitter(torch.nn.Identity):
    """Of another package, under a name that mmpretrain and viewplug have too."""


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('Posterize', "Posterize is not among the steps of views cut in batch: .*; others need views='sample'"),
        ('mylab.ColorJitter', "know steps of viewplug, mmpretrain, mmcv, got type='mylab.ColorJitter'"),
        (ColorJitter, "know steps of viewplug, mmpretrain, mmcv, got type=<class '.*ColorJitter'>"),
    ],
    ids=str,
)
def test_a_step_of_somebody_else_is_not_taken_for_ours_of_the_same_name(kind, message):
    with pytest.raises(ValueError, match=message):
        BatchViews([[CUT[0], dict(type=kind)]], 2)


class Losses(Diary):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())


def test_a_resumed_run_repeats_the_unbroken_one_to_the_bit(tmp_path):
    def run(folder, diary, resume=False):
        runner = toy_runner(
            tmp_path / folder,
            [EpochSeedHook(), diary],
            max_epochs=4,
            resume=resume,
            dataset=InMemoryDataset(ToyImages(pipeline=[])),
            collate_fn=dict(type='viewplug.take_batch'),
            data_preprocessor=dict(type='viewplug.BatchViews', transforms=PIPELINE[0]['transforms'], num_views=2),
        )
        runner.train()
        return runner

    unbroken, killed, resumed = Losses(), Losses(stop_before=2), Losses()
    whole = run('whole', unbroken)
    with pytest.raises(KeyboardInterrupt):
        run('broken', killed)
    again = run('broken', resumed, resume=True)
    assert killed.losses + resumed.losses == unbroken.losses and len(resumed.losses) == 4
    state, expected = again.model.state_dict(), whole.model.state_dict()
    assert [key for key, value in expected.items() if not torch.equal(value, state[key])] == []
    assert expected['data_preprocessor._extra_state'] == len(unbroken.losses)
    assert isinstance(whole.model.data_preprocessor.views[0], View)
