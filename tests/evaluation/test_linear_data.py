import pytest
from mmengine import Config

from viewplug.evaluation.linear_data import labelled_datasets, single_view_size, training_pipeline

LOAD, RESIZE, PACK = dict(type='LoadImageFromFile'), dict(type='Resize', scale=(40, 40)), dict(type='PackInputs')


def config(bank=None, val=None, pretraining=None, hook_in='custom_hooks'):
    def loader(dataset):
        return dict(batch_size=7, dataset=dataset)

    hook = dict(
        type='viewplug.KNNHook',
        train_dataloader=loader(bank or dict(type='A', split='train', pipeline=[LOAD, RESIZE, PACK])),
        val_dataloader=loader(val or dict(type='A', split='test', pipeline=[LOAD, RESIZE, PACK])),
    )
    views = [[dict(type='viewplug.ContrastiveCrop', scale=40), dict(type='RandomFlip', prob=0.5)]]
    pipeline = [dict(type='viewplug.MultiView', num_views=2, transforms=views), PACK]
    return Config(
        dict(
            model=dict(type='viewplug.Siamese'),
            train_dataloader=loader({**(pretraining or dict(type='A')), 'pipeline': pipeline}),
            **({'custom_hooks': [dict(type='X'), hook]} if hook_in == 'custom_hooks' else {hook_in: hook}),
        )
    )


def test_the_sets_are_those_of_the_knn_hook_or_of_a_top_level_knn_hook():
    for place in ('custom_hooks', 'knn_hook'):
        bank, val = labelled_datasets(config(hook_in=place))
        assert (bank.split, val.split) == ('train', 'test')
    with pytest.raises(ValueError, match='no labelled data.*KNNHook'):
        labelled_datasets(config(hook_in='elsewhere'))


def test_a_classifier_trains_on_all_images_of_which_knn_uses_some_and_validates_on_the_same_ones():
    bank, val = (dict(type='A', indices=number, pipeline=[PACK]) for number in (2000, 1000))
    bank, val = labelled_datasets(config(bank, val))
    assert 'indices' not in bank and val.indices == 1000
    scenes = dict(type='viewplug.ShapeScenes', num_images=2000, pipeline=[PACK])
    bank, val = labelled_datasets(config(scenes, scenes, dict(type='viewplug.ShapeScenes', num_images=4000)))
    assert (bank.num_images, val.num_images) == (4000, 2000)
    bank, _ = labelled_datasets(config(scenes, scenes, dict(type='Another', num_images=4000)))
    assert bank.num_images == 2000


def test_images_that_were_held_in_memory_are_read_through_their_data_set():
    inside = dict(type='A', pipeline=[RESIZE])
    bank, val = labelled_datasets(config(dict(type='viewplug.InMemoryDataset', dataset=inside), inside))
    for dataset in (bank, val):
        assert dataset.type == 'A' and [step.type for step in dataset.pipeline] == ['Resize', 'mmpretrain.PackInputs']


def test_training_crops_and_flips_what_was_loaded_and_validation_keeps_its_pipeline():
    wrapped = dict(type='ConcatDataset', datasets=[dict(type='A', pipeline=[LOAD, RESIZE, PACK]) for _ in range(2)])
    cfg = config(wrapped)
    bank, val = labelled_datasets(cfg)
    for leaf in training_pipeline(bank, 40).datasets:
        types = [step.type.split('.')[-1] for step in leaf.pipeline]
        assert types == ['LoadImageFromFile', 'RandomResizedCrop', 'RandomFlip', 'PackInputs']
        assert leaf.pipeline[1].scale == 40 and leaf.pipeline[1].crop_ratio_range == (0.08, 1.0)
    assert [step.type for step in bank.datasets[0].pipeline] == ['LoadImageFromFile', 'Resize', 'PackInputs']
    assert [step.type for step in val.pipeline] == ['LoadImageFromFile', 'Resize', 'PackInputs']


def test_training_images_have_the_channel_order_of_validation_images():
    swap = [dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy')]
    bank = dict(type='A', pipeline=[*swap, RESIZE, PACK])
    train = training_pipeline(labelled_datasets(config(bank, bank))[0], 40)
    types = [step.type.split('.')[-1] for step in train.pipeline]
    assert types == ['NumpyToPIL', 'PILToNumpy', 'RandomResizedCrop', 'RandomFlip', 'PackInputs']
    assert train.pipeline[0].to_rgb


def test_training_images_that_the_pipeline_turns_to_pil_come_back():
    to_pil, back = dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy', to_bgr=True)
    resize = dict(type='torchvision/Resize', size=40)
    found = training_pipeline(Config(dict(type='A', pipeline=[LOAD, to_pil, resize, back, PACK]))._cfg_dict, 32)
    assert [step['type'] for step in found.pipeline[:3]] == ['LoadImageFromFile', 'NumpyToPIL', 'PILToNumpy']
    found = training_pipeline(Config(dict(type='A', pipeline=[LOAD, to_pil, back, resize, PACK]))._cfg_dict, 32)
    assert [step['type'] for step in found.pipeline].count('PILToNumpy') == 1


def test_the_size_is_that_of_the_first_crop_wherever_views_are_made():
    cfg = config()
    assert single_view_size(cfg) == 40
    (step, _) = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline = [PACK]
    cfg.data_preprocessor = dict(type='viewplug.BatchViews', transforms=step.transforms)
    assert single_view_size(cfg) == 40
    cfg.data_preprocessor.transforms[0][0].scale = (48, 48)
    assert single_view_size(cfg) == 48
    cfg.data_preprocessor = None
    with pytest.raises(ValueError, match='no crop with a scale'):
        single_view_size(cfg)
