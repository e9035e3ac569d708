import numpy as np
import pytest
import torch
from mmengine import Config
from PIL import Image
from toy_siamese import MEAN, STD, ToyImages, loader, log_text, make_runner

from viewplug.datasets.whole_images import images_as_loaded
from viewplug.hooks import ViewGalleryHook
from viewplug.hooks.gallery import tiled
from viewplug.visualization.gallery import TITLE_HEIGHT, denormalise, draw_views

MEAN_T, STD_T = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)


def normal(pixels):
    return (pixels.float() - MEAN_T) / STD_T


def channels(view, step):
    return view if step == 1 else view.flip(1)


def test_denormalised_pixels_are_the_originals_in_either_range():
    pixels = torch.randint(256, (2, 3, 4, 4))
    assert torch.allclose(denormalise(normal(pixels), MEAN_T, STD_T) * 255, pixels.float(), atol=1e-3)
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    unit = torch.rand(2, 3, 4, 4)
    images = (unit - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(denormalise(images, mean, std), unit, atol=1e-6)
    stretched = denormalise(unit * 7 - 3)
    assert stretched.min() == 0 and stretched.max() == 1
    assert denormalise(torch.full((1, 3, 2, 2), 99.0), MEAN_T, STD_T).max() == 1


def test_cells_hold_row_images_and_column_views_in_rgb():
    red, blue = torch.zeros(2, 3, 64, 64), torch.zeros(2, 3, 32, 32)
    red[:, 0], blue[:, 2] = 255, 255
    for order in ('rgb', 'bgr'):
        step = 1 if order == 'rgb' else -1
        mean, std = MEAN[::step], STD[::step]
        views = [channels(view, step) for view in (red, blue)]
        views = [(view - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1) for view in views]
        sheet = np.asarray(draw_views(views, mean, std, order))
        assert sheet.shape == (TITLE_HEIGHT + 2 + 2 * 66, 2 * 68, 3)
        for row in (0, 1):
            y = TITLE_HEIGHT + 2 + 66 * row + 32
            assert sheet[y, 2 + 32].tolist() == [255, 0, 0]
            assert sheet[y, 68 + 2 + 32].tolist() == [0, 0, 255]


def test_patches_are_drawn_side_by_side():
    image = torch.rand(2, 3, 6, 8)
    patches = torch.stack([torch.stack(row.split(2, dim=-1), dim=1) for row in image.split(2, dim=-2)], dim=1)
    assert patches.shape == (2, 3, 4, 3, 2, 2) and torch.equal(tiled(patches), image)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match='views must be tensors'):
        draw_views([torch.zeros(2, 5)])
    with pytest.raises(ValueError, match="channel_order.*'hsv'"):
        ViewGalleryHook(channel_order='hsv')
    with pytest.raises(ValueError, match='num_images.*0'):
        ViewGalleryHook(0)


def test_the_first_batch_is_drawn_once_as_the_network_sees_it(tmp_path):
    seen = []

    def remember(module, inputs, output):
        seen.append([view.clone() for view in output['inputs']])

    runner = make_runner(
        tmp_path,
        [dict(type='viewplug.ViewGalleryHook', num_images=3)],
        train=loader(ToyImages(views=3, sizes=(64, 64, 32)), shuffle=True),
    )
    runner.model.data_preprocessor.register_forward_hook(remember)
    runner.train()
    (path,) = (tmp_path / 'vis_views').iterdir()
    assert path.name == 'epoch_0.png' and str(path) in log_text(tmp_path)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (TITLE_HEIGHT + 2 + 3 * 66, 3 * 68, 3)
    cell = sheet[TITLE_HEIGHT + 2 + 66 :, 68 + 2 :][:64, :64]  # image 1, view 1
    expected = (seen[0][1][1] * STD_T + MEAN_T).permute(1, 2, 0).round().numpy()
    assert np.abs(cell - expected).max() <= 1
    assert len(list(tmp_path.glob('*/vis_data/vis_image/vis_views_0.png'))) == 1
    assert len(runner.model.data_preprocessor._forward_hooks) == 1


def test_an_interval_draws_every_so_many_epochs(tmp_path):
    make_runner(tmp_path, [dict(type='viewplug.ViewGalleryHook', interval=2)], epochs=4).train()
    assert sorted(path.name for path in (tmp_path / 'vis_views').iterdir()) == ['epoch_0.png', 'epoch_2.png']


def test_whole_images_are_drawn_with_the_crops_and_the_windows_that_heads_match(tmp_path):
    from toy_runs import PIPELINE, toy_runner

    from viewplug.visualization.crop_sheet import VIEW_COLOURS

    scenes = dict(type='viewplug.ShapeScenes', num_images=16, image_size=40, pipeline=PIPELINE)
    region = dict(
        neck=dict(type='viewplug.RegionNeck', stages=('C2', 'C3'), out_channels=8),
        head=dict(
            type='viewplug.RegionHead',
            window=(8, 16),
            stride=(8, 8),
            downsample=(4, 8),
            input_size=32,
            loss=dict(type='viewplug.InfoNCELoss'),
        ),
    )
    hook = dict(type='viewplug.ViewGalleryHook', num_images=4)
    toy_runner(tmp_path, [hook], branch=region, dataset=scenes, max_epochs=1).train()
    crops = np.asarray(Image.open(tmp_path / 'vis_crops/epoch_0.png'))
    for colour in VIEW_COLOURS[:2]:
        assert (crops == colour).all(axis=-1).sum() > 4 * 4 * 64 * 3  # frames of four views, and boxes
    assert np.asarray(Image.open(tmp_path / 'vis_regions/epoch_0.png')).shape[1] > 4 * 192


@pytest.mark.parametrize('to_rgb', [True, False], ids=['rgb', 'bgr'])  # as the network sees them
@pytest.mark.parametrize('told', [False, True], ids=['of the config', 'of the hook'])
def test_the_image_beside_the_views_is_the_one_they_were_cut_from(to_rgb, told, tmp_path, monkeypatch):
    """Each view, cut again from the image that is drawn, is the view, and both have the colours of the scene."""
    from toy_runs import PIPELINE, toy_runner

    from viewplug.hooks import gallery

    drawn = []
    draw = gallery.draw_crops
    monkeypatch.setattr(gallery, 'draw_crops', lambda *args: drawn.append(args) or draw(*args))
    scenes = dict(type='viewplug.ShapeScenes', num_images=16, image_size=40, pipeline=PIPELINE)
    preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=to_rgb)
    hook = dict(type='viewplug.ViewGalleryHook', channel_order=('rgb' if to_rgb else 'bgr') if told else None)
    runner = toy_runner(tmp_path, [hook], dataset=scenes, max_epochs=1, data_preprocessor=preprocessor)
    said = {**preprocessor, 'to_rgb': to_rgb != told}  # a hook that is told the order believes no config
    runner.cfg = Config(dict(train_dataloader=dict(dataset=scenes), data_preprocessor=said))
    runner.train()
    images, views, geometry = drawn[0]
    for n, image in enumerate(images):
        for v, view in enumerate(views):
            x0, y0, x1, y1 = (geometry.boxes[n, v] * 40).round().int().tolist()
            cut = torch.nn.functional.interpolate(image[None, :, y0:y1, x0:x1], size=32, mode='bilinear')[0]
            cut = cut.flip(2) if geometry.flips[n, v] else cut
            assert (cut - view[n]).abs().mean() < 0.02
    loaded = images_as_loaded(runner.train_dataloader.dataset, range(16))  # BGR
    assert all(any(torch.equal(one.flip(0) / 255, image) for one in loaded) for image in images)
