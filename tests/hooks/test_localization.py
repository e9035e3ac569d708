"""LocalizationHook: which boxes, when, for whom."""

import json

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.hooks import Hook
from PIL import Image
from processes import in_processes
from torch.utils.data import ConcatDataset as TorchConcat
from torch.utils.data import Subset
from toy_localization import (
    SIZE,
    Brightness,
    Diary,
    Spots,
    boxes_of,
    crop_of,
    model,
    pipeline,
    run,
    spot_box,
)
from toy_runs import log_of

from viewplug.box_store import BoxStore
from viewplug.datasets import ImageFolder
from viewplug.evaluation import localization
from viewplug.hooks import LocalizationHook, box_report
from viewplug.hooks.box_targets import BoxTargets

NOW = dict(start=0, interval=1, threshold=0.5)
CLOSE = 1.5 / SIZE  # the network sees cells of 4 pixels, smeared by up-sampling


def close(boxes, places):
    expected = np.array([spot_box(place) for place in places])
    return boxes.shape == expected.shape and np.abs(boxes - expected).max() <= CLOSE


def centres_off(crops, places):
    """How far the centres of crops lie from the spot of their image, at most."""
    off = [0.0]
    for index, (x0, y0, x1, y1) in crops:
        left, top, right, bottom = spot_box(places[index])
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        # A crop of half the image's width or less can be centred in the spot unless the border is too near.
        half_x, half_y = (x1 - x0) / 2, (y1 - y0) / 2
        low_x, high_x = (min(max(edge, half_x), 1 - half_x) for edge in (left, right))
        low_y, high_y = (min(max(edge, half_y), 1 - half_y) for edge in (top, bottom))
        off.append(max(low_x - x, x - high_x, low_y - y, y - high_y))
    return max(off)


def test_boxes_are_where_the_network_sees_the_object_and_renewed_on_time(tmp_path):
    diary = Diary()
    run(tmp_path, [dict(start=1, interval=2, threshold=0.5), diary], epochs=5)
    assert diary.stores[0] is None
    assert all(close(diary.stores[epoch], range(8)) for epoch in range(1, 5))
    lines = [line for line in log_of(tmp_path).splitlines() if 'Boxes of 8 images after' in line]
    assert ['after 1 epochs' in lines[0], 'after 3 epochs' in lines[1], len(lines)] == [True, True, 2]


def test_crops_follow_the_boxes_from_the_epoch_of_the_update_on(tmp_path):
    diary = Diary()
    run(tmp_path, [dict(start=2, interval=9, threshold=0.5), diary], epochs=6)
    off = {epoch: centres_off(crops, range(8)) for epoch, crops in diary.crops.items()}
    assert min(off[0], off[1]) > 0.2
    assert max(off[epoch] for epoch in range(2, 6)) <= CLOSE + 2 / 24  # a pixel of rounding


@pytest.mark.parametrize('start_method', ['fork', 'spawn'])
def test_workers_that_are_running_already_crop_by_the_new_boxes(start_method, tmp_path):
    diary = Diary()
    run(
        tmp_path, [dict(start=1, interval=1, threshold=0.5, num_workers=0), diary], workers=1, start_method=start_method
    )
    assert centres_off(diary.crops[0], range(8)) > 0.2
    assert centres_off(diary.crops[1] + diary.crops[2], range(8)) <= CLOSE + 2 / 24


def test_stock_multi_view_takes_boxes_too(tmp_path):
    dataset = Spots(pipeline=pipeline('mmpretrain.MultiView'))
    run(tmp_path, [NOW], dataset, epochs=1, workers=1)
    assert close(boxes_of(dataset), range(8))


def test_each_data_set_inside_wrappers_gets_its_own_boxes(tmp_path):
    leaves = [Spots(number, first=first, pipeline=pipeline()) for number, first in ((3, 0), (4, 5), (5, 9), (6, 2))]
    a, b, c, d = leaves
    inner = ConcatDataset([c, Spots(2, pipeline=pipeline())])
    wrapped = TorchConcat([RepeatDataset(a, 2), ClassBalancedDataset(b, 0.1), inner, Subset(d, [5, 1, 3])])
    run(tmp_path, [NOW], wrapped, epochs=1)
    for leaf in leaves:
        assert close(boxes_of(leaf), range(leaf.first, leaf.first + leaf.number))


def test_a_subset_by_indices_is_numbered_as_its_samples_are(tmp_path):
    dataset = Spots(16, indices=[12, 3, 7, 9], pipeline=pipeline())
    diary = Diary()
    run(tmp_path, [NOW, diary], dataset, epochs=2)
    assert close(boxes_of(dataset), [12, 3, 7, 9])
    assert centres_off(diary.crops[0] + diary.crops[1], [12, 3, 7, 9]) <= CLOSE + 2 / 24


def test_every_crop_of_a_pipeline_gets_the_boxes(tmp_path):
    crop = dict(type='viewplug.ContrastiveCrop', scale=SIZE)
    views = [
        [dict(type='mmcv.RandomApply', prob=1.0, transforms=[crop])],
        [crop],
        [dict(crop, localize=False)],
    ]
    views = dict(type='mmpretrain.MultiView', num_views=[1, 1, 1], transforms=views)
    dataset = Spots(pipeline=[views, dict(type='mmpretrain.PackInputs')])
    run(tmp_path, [NOW], dataset, epochs=1)
    first, second, third = (view.transforms[0] for view in dataset.pipeline.transforms[0].pipelines)
    nested = first.transforms.transforms[0]
    assert close(nested.box_store.read_all(), range(8)) and close(second.box_store.read_all(), range(8))
    assert third.box_store.read_all() is None


def test_loading_steps_run_and_augmentations_do_not(tmp_path):
    class Invert:
        def __call__(self, results):
            results['img'] = 255 - results['img']
            return results

    dataset = Spots(pipeline=pipeline(before=[Invert(), Invert()]))
    images = BoxTargets(dataset).whole_images((24, 48))
    pixels, readable = images[3]
    assert readable and torch.equal(pixels[0, 0], images[3][0][0, 0])
    x0, y0, x1, y1 = 36, 0, 48, 6
    assert (pixels[:, y0:y1, x0:x1] == 250).all() and (pixels == 60).sum() == pixels.numel() - 3 * 72
    assert len(dataset.pipeline.transforms) == 4


class Bits(Hook):
    """Losses, random numbers and training modes after every step, to the last bit."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        modes = tuple(module.training for module in runner.model.modules())
        self.seen.append((float(outputs['loss']), np.random.rand(), float(torch.rand(())), modes))


def test_training_is_equal_to_the_bit_with_and_without_the_hook_while_boxes_are_whole(tmp_path):
    seen = []
    for name, hooks in (('with', [NOW]), ('without', [])):
        bits = Bits()
        dataset = Spots(blank=range(8), pipeline=pipeline())
        run(tmp_path / name, [*hooks, bits], dataset, lr=0.05, net=model(Noisy()))
        seen.append(bits.seen)
    assert seen[0] == seen[1] and len(seen[0]) == 6


class Noisy(Brightness):
    """With batch norm and drop-out, whose state and random numbers an update must not touch."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.2)

    def forward(self, images):
        return (self.drop(self.norm(super().forward(images)[0])),)


def test_dead_maps_keep_the_whole_image_and_are_counted_logged_and_warned_of(tmp_path):
    dataset = Spots(blank=(1, 2, 4, 5, 6, 7), pipeline=pipeline())
    runner = run(tmp_path, [NOW], dataset, epochs=1)
    boxes = boxes_of(dataset)
    assert boxes[[1, 2, 4, 5, 6, 7]].tolist() == [[0, 0, 1, 1]] * 6
    assert close(boxes[[0, 3]], [0, 3])
    log = log_of(tmp_path)
    assert '6 (75.0%) are the whole image, 6 (75.0%) because the heat map is dead' in log
    warning = next(line for line in log.splitlines() if 'localisation does nothing' in line)
    assert all(knob in warning for knob in ('threshold=0.5', 'adaptive_threshold', 'start=0', 'encoder', 'heatmap'))
    hub = runner.message_hub
    area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).mean()
    assert hub.get_scalar('localization/whole').data[0].tolist() == [0.75]
    assert hub.get_scalar('localization/box_area').data[0].tolist() == pytest.approx([area])
    (path,) = tmp_path.glob('*/vis_data/scalars.json')
    line = next(json.loads(line) for line in path.read_text().splitlines() if 'localization/dead' in line)
    assert line['localization/dead'] == 0.75 and line['step'] == 0 and 0 < line['localization/time_share'] < 1


def test_drift_is_the_iou_with_the_boxes_before_from_the_second_update_on(tmp_path):
    dataset = Spots(pipeline=pipeline())
    wide = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(8, 1)

    class Replace(Hook):
        def after_train_epoch(self, runner):
            if runner.epoch == 0:
                crop_of(dataset).box_store.write(wide)

    runner = run(tmp_path, [NOW, Replace()], dataset, epochs=2)
    boxes = boxes_of(dataset)
    area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).mean()
    drift = runner.message_hub.get_scalar('localization/iou_with_last').data[0]
    assert drift.tolist() == pytest.approx([area], abs=1e-5)  # one value; IoU with the whole image is the area
    assert f'mean IoU with the boxes before {area:.2f}' in log_of(tmp_path)


def test_no_warning_while_most_boxes_are_smaller_than_the_image(tmp_path):
    run(tmp_path, [NOW], Spots(blank=(0, 1), pipeline=pipeline()), epochs=1)
    assert 'does nothing' not in log_of(tmp_path)


def test_an_adaptive_threshold_is_passed_on(tmp_path):
    dataset = Spots(pipeline=pipeline())
    run(tmp_path, [dict(start=0, interval=1, threshold=0.0, adaptive_threshold='otsu')], dataset, epochs=1)
    assert close(boxes_of(dataset), range(8))


def test_the_target_encoder_is_another_network(tmp_path):
    class Blind(Hook):
        def before_train_epoch(self, runner):
            torch.nn.init.zeros_(runner.model.backbone.mix.weight)

    dataset = Spots(pipeline=pipeline())
    run(tmp_path / 'a', [Blind(), dict(NOW, encoder='target')], dataset, epochs=1)
    assert close(boxes_of(dataset), range(8))
    run(tmp_path / 'b', [Blind(), NOW], dataset, epochs=1)
    assert boxes_of(dataset).tolist() == [[0, 0, 1, 1]] * 8


def test_a_resumed_run_has_the_boxes_of_its_checkpoint_and_a_loaded_one_none(tmp_path):
    run(tmp_path / 'first', [dict(start=1, interval=9, threshold=0.5)], epochs=2)
    assert torch.load(tmp_path / 'first/epoch_1.pth', weights_only=False)['localization']['boxes'] is None
    latest = str(tmp_path / 'first/epoch_2.pth')
    resumed, loaded = Diary(), Diary()
    late = dict(start=1, interval=9, threshold=0.9)
    run(tmp_path / 'resumed', [late, resumed], epochs=3, load_from=latest, resume=True)
    assert close(resumed.stores[2], range(8))
    assert centres_off(resumed.crops[2], range(8)) <= CLOSE + 2 / 24
    assert 'Boxes of' not in log_of(tmp_path / 'resumed')
    run(tmp_path / 'loaded', [late, loaded], epochs=1, load_from=latest)
    assert loaded.stores[0] is None


def test_a_run_killed_in_the_middle_of_an_update_resumes_with_the_old_boxes_whole(tmp_path, monkeypatch):
    hook = dict(start=1, interval=1, threshold=0.5, batch_size=2)
    dataset = Spots(pipeline=pipeline(store=str(tmp_path / 'boxes.npy')))
    unbroken = Diary()
    run(tmp_path / 'unbroken', [hook, unbroken], lr=0.05, epochs=4)
    old = unbroken.stores[1]

    forwards = localization.localise

    def dies(*args):
        dies.calls += 1
        if dies.calls == 1 + 4 + 2:  # the check before training, the update after epoch 1, half of that after epoch 2
            raise KeyboardInterrupt
        return forwards(*args)

    dies.calls = 0
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(localization, 'localise', dies)
        run(tmp_path / 'killed', [hook], dataset, lr=0.05, epochs=4)
    assert np.array_equal(boxes_of(dataset), old)
    saved = torch.load(tmp_path / 'killed/epoch_2.pth', weights_only=False)['localization']
    assert np.array_equal(saved['boxes'], old) and saved['lengths'] == [8]
    again = Diary()
    run(tmp_path / 'killed', [dict(hook, start=9), again], lr=0.05, epochs=3, resume=True)
    assert np.array_equal(again.stores[2], old)


def test_a_new_run_begins_without_the_boxes_that_an_earlier_one_left_in_its_store(tmp_path):
    path, diary = str(tmp_path / 'boxes.npy'), Diary()
    run(tmp_path / 'earlier', [NOW], Spots(pipeline=pipeline(store=path)), epochs=1)
    assert len(BoxStore(path)) == 8
    run(tmp_path / 'new', [dict(NOW, start=1), diary], Spots(pipeline=pipeline(store=path)), epochs=2)
    assert diary.stores[0] is None and close(diary.stores[1], range(8))
    assert 'boxes of an earlier run lay in the store' in log_of(tmp_path / 'new')
    assert 'boxes of an earlier run' not in log_of(tmp_path / 'earlier')


def test_a_store_that_cannot_be_written_is_said_before_the_first_epoch(tmp_path):
    (tmp_path / 'file').touch()
    dataset = Spots(pipeline=pipeline(store=str(tmp_path / 'file/boxes.npy')))
    with pytest.raises(ValueError, match=r'file/boxes\.npy cannot be written \(.*\): set the store of ContrastiveCrop'):
        run(tmp_path / 'run', [dict(NOW, start=2)], dataset, epochs=3)


def test_a_store_that_outlived_a_run_without_boxes_in_its_checkpoint_is_emptied_on_resume(tmp_path):
    path = str(tmp_path / 'boxes.npy')
    run(tmp_path / 'run', [dict(start=8, interval=1)], Spots(pipeline=pipeline(store=path)), epochs=1)
    BoxStore(path).write(np.full((8, 4), 0.5))
    diary = Diary()
    run(
        tmp_path / 'run',
        [dict(start=8, interval=1), diary],
        Spots(pipeline=pipeline(store=path)),
        epochs=2,
        resume=True,
    )
    assert diary.stores[1] is None


def test_a_checkpoint_of_other_data_sets_is_said_not_to_fit(tmp_path):
    run(tmp_path / 'a', [NOW], epochs=1)
    dataset = Spots(12, pipeline=pipeline())
    run(tmp_path / 'a', [dict(start=9, interval=1)], dataset, epochs=2, resume=True)
    assert 'boxes for [8] images, and this run has other data sets' in log_of(tmp_path / 'a')
    assert boxes_of(dataset) is None


def test_a_run_resumed_without_boxes_gets_them_at_once(tmp_path):
    run(tmp_path, [], epochs=2)
    diary = Diary()
    run(tmp_path, [dict(start=1, interval=5, threshold=0.5), diary], epochs=3, resume=True)
    assert close(diary.stores[2], range(8))


def rank_run(folder):
    rank = torch.distributed.get_rank()
    dataset = Spots(7, pipeline=pipeline())
    runner = run(f'{folder}/{rank}', [dict(NOW, batch_size=2)], dataset, epochs=1)
    return (
        boxes_of(dataset),
        runner.model.backbone.calls,
        runner.message_hub.get_scalar('localization/box_area').data[0],
    )


def test_two_processes_share_the_forwards_and_both_hand_on_all_boxes(tmp_path):
    dataset = Spots(7, pipeline=pipeline())
    alone = run(tmp_path / 'alone', [dict(NOW, batch_size=2)], dataset, epochs=1)
    (first, calls, area), (second, other_calls, _) = in_processes(rank_run, tmp_path, tmp_path)
    assert np.array_equal(first, boxes_of(dataset)) and np.array_equal(second, first)
    # One forward is the check before training; a step is one online forward, in batches of 4 a process.
    assert [alone.model.backbone.calls, calls, other_calls] == [1 + 4 + 2, 1 + 2 + 1, 1 + 2 + 1]
    assert area == alone.message_hub.get_scalar('localization/box_area').data[0]


def test_iterations_are_counted_where_the_loop_has_no_epochs(tmp_path):
    seen = {}

    class Watch(Hook):
        priority = 'VERY_LOW'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen[runner.iter] = boxes_of(runner.train_dataloader.dataset)

    hook = dict(start=3, interval=2, threshold=0.5, by_epoch=False)
    run(tmp_path, [hook, Watch()], by_epoch=False)
    assert [seen[number] is None for number in range(4)] == [True, True, True, False]
    assert close(seen[3], range(8))
    assert log_of(tmp_path).count('Boxes of') == 2
    with pytest.raises(ValueError, match='by_epoch=False, and start=3'):
        run(tmp_path, [dict(start=3, interval=2)], by_epoch=False)


def test_an_image_that_cannot_be_read_has_the_whole_image_and_its_neighbours_their_own(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    dataset = Spots(5, pipeline=[])
    for index in range(5):
        Image.fromarray(dataset[index]['img']).save(folder / f'{index}.png')
    (folder / '2.png').write_bytes(b'no image')
    images = ImageFolder(str(folder), serialize_data=False, pipeline=pipeline(before=[dict(type='LoadImageFromFile')]))
    runner = run(tmp_path, [NOW], images, epochs=2)
    boxes = boxes_of(images)
    assert boxes[2].tolist() == [0, 0, 1, 1] and close(boxes[[0, 1, 3, 4]], [0, 1, 3, 4])
    log = log_of(tmp_path)
    assert '1 (20.0%) are the whole image because the image could not be read; of the others mean area' in log
    assert '0 (0.0%) are the whole image, 0 (0.0%) because the heat map is dead' in log
    sides = boxes[[0, 1, 3, 4], 2:] - boxes[[0, 1, 3, 4], :2]
    scalars = runner.message_hub.log_scalars
    figures = {name: scalars[f'localization/{name}'].data[0][0] for name in ('unreadable', 'dead', 'whole', 'box_area')}
    assert figures == pytest.approx(dict(unreadable=0.2, dead=0, whole=0, box_area=sides.prod(axis=1).mean()))
    assert scalars['localization/iou_with_last'].data[0].tolist() == pytest.approx([1.0])


def test_a_sheet_of_heat_maps_boxes_and_crops_is_drawn_at_each_update(tmp_path):
    run(tmp_path, [dict(NOW, num_drawn=3)], epochs=2)
    sheets = [np.asarray(Image.open(tmp_path / f'vis_boxes/epoch_{epoch}.png')) for epoch in (0, 1)]
    assert sheets[0].shape == sheets[1].shape
    logged = sorted(path.name for path in tmp_path.glob('*/vis_data/vis_image/*'))
    assert logged == ['vis_boxes_0.png', 'vis_boxes_1.png']


@pytest.mark.parametrize(
    ('swaps', 'given', 'drawn'), [(True, None, 'bgr'), (False, None, 'rgb'), (False, 'bgr', 'bgr')]
)
def test_images_are_drawn_in_the_order_that_the_pre_processor_takes_them_in(swaps, given, drawn, tmp_path, monkeypatch):
    orders = []
    monkeypatch.setattr(box_report, 'draw_boxes', lambda *args: orders.append(args[4]) or Image.new('RGB', (4, 4)))
    net = dict(model(), data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=swaps))
    run(tmp_path, [dict(NOW, num_drawn=1, channel_order=given)], epochs=1, net=net)
    assert orders == [drawn]


def test_without_localize_the_hook_says_so_and_does_nothing(tmp_path):
    dataset = Spots(pipeline=pipeline(localize=False))
    runner = run(tmp_path, [NOW], dataset, epochs=1)
    assert 'every ContrastiveCrop has localize=False' in log_of(tmp_path)
    assert boxes_of(dataset) is None and runner.model.backbone.calls == 2


@pytest.mark.parametrize(('start', 'warned'), [(1, 0), (2, 1)])
def test_a_first_update_behind_the_runs_end_is_said(start, warned, tmp_path):
    run(tmp_path, [dict(start=start, interval=1, threshold=0.5)], epochs=2)
    assert log_of(tmp_path).count(f'the run has 2 epochs and start={start}: there will be no boxes') == warned
    assert ('Boxes of' in log_of(tmp_path)) != bool(warned)


def test_mistakes_are_named_before_training(tmp_path):
    wrong = Spots(pipeline=pipeline(crop='viewplug.RandomResizedCrop'))
    with pytest.raises(ValueError, match='no viewplug.ContrastiveCrop.*Spots.*RandomResizedCrop'):
        run(tmp_path, [NOW], wrong)
    with pytest.raises(ValueError, match="encoder='target' needs a momentum copy.*Siamese has none"):
        run(tmp_path, [dict(NOW, encoder='target')], net=model(target=dict(type='viewplug.StopGradTarget')))
    with pytest.raises(ValueError, match="heatmap='attention'.*Brightness has none"):
        run(tmp_path, [dict(NOW, heatmap='attention', start=50)])
    shared = str(tmp_path / 'boxes.npy')
    two = ConcatDataset([Spots(pipeline=pipeline(store=shared)), Spots(pipeline=pipeline(store=shared))])
    with pytest.raises(ValueError, match='two data sets crop by one BoxStore'):
        run(tmp_path, [NOW], two)


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (dict(start=-1), 'start must be at least 0, got -1'),
        (dict(interval=0), 'interval.*at least 1, got 0'),
        (dict(interval=2.5), 'interval.*got 2.5'),
        (dict(threshold=1.5), 'LocalizationHook: threshold.*1.5'),
        (dict(adaptive_threshold='mean'), "LocalizationHook: adaptive_threshold.*'mean'"),
        (dict(source='view'), "source must be 'forward' or 'views', got 'view'"),
        (dict(encoder='ema'), "encoder must be 'online' or 'target', got 'ema'"),
        (dict(heatmap='grad_cam'), "heatmap must be 'auto' or .*got 'grad_cam'"),
        (dict(channel_order='hsv'), "channel_order.*'hsv'"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        LocalizationHook(**{**NOW, **arguments})


def test_mixed_precision_gives_the_same_boxes_within_a_cell():
    dataset = Spots(pipeline=pipeline())
    targets = BoxTargets(dataset)
    images = torch.stack([image for image, _ in targets.whole_images((SIZE, SIZE))])
    net = torch.nn.Module()
    net.backbone = Brightness()
    batches = [(images, torch.ones(8, dtype=torch.bool))]
    (batch,) = localization.localise_batches(
        net, batches, 0.5, autocast=lambda: torch.autocast('cpu', dtype=torch.bfloat16)
    )
    assert batch.found.boxes.dtype == batch.heatmaps.dtype == torch.float32
    assert close(batch.found.boxes.numpy(), range(8))
    assert crop_of(dataset).box_store.read_all() is None


def test_an_unreadable_image_is_whole_whatever_its_pixels_show():
    images = torch.stack([image for image, _ in BoxTargets(Spots(pipeline=pipeline())).whole_images((SIZE, SIZE))])
    net = torch.nn.Module()
    net.backbone = Brightness()
    readable = torch.ones(8, dtype=torch.bool)
    readable[3] = False
    (batch,) = localization.localise_batches(net, [(images, readable)], 0.5)
    assert batch.found.boxes[3].tolist() == [0, 0, 1, 1]
    assert batch.found.whole.tolist() == (~batch.readable).tolist() == (~readable).tolist()
    assert not batch.found.dead.any()
