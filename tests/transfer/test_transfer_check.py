"""TransferCheckHook: what did not arrive stops the run, what arrives and computes something else is said."""

import pytest
import torch
from checkpoints import NORMALISATION, built, faster_rcnn, plain, pretrained, same, small_resnet
from mmengine.config import Config, ConfigDict
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from toys import toy_resnet

from viewplug.config.channel_order import BGR_TO_RGB
from viewplug.registry import HOOKS
from viewplug.transfer import InitFromSSL, TransferCheckHook
from viewplug.transfer.check import Origin, check_model, check_prefixes, origins_in, table
from viewplug.transfer.check_hook import all_origins
from viewplug.transfer.export import export
from viewplug.transfer.recorded import recorded_commit, recorded_config, recorded_normalisation, recorded_order
from viewplug.transfer.start_from import start_from

CONFIG = Config(dict(data_preprocessor=NORMALISATION, model=dict(backbone=toy_resnet()))).pretty_text


@pytest.fixture(scope='module')
def path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('check') / 'v.pth'
    pretrained(path, config=CONFIG)
    return str(path)


def build_detector(cfg):
    """As ``built``, and not yet initialised."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)


def report_of(cfg, **options):
    """The check of the backbone of a detector."""
    detector = built(cfg if 'roi_head' in cfg else faster_rcnn(cfg))
    (report,) = check_model(detector, origins_in(detector), **options)
    return report


def test_a_backbone_that_arrived_has_no_errors_warnings_or_notes_and_a_row_of_numbers(path):
    report = report_of(small_resnet(init_cfg=plain(path)))
    assert (report.errors, report.warnings, report.notes) == ([], [], [])
    assert report.row == ('backbone', 'backbone.', 120, 0, 0, 0, 0)
    lines = table([report]).splitlines()
    assert lines[0].split('  ')[0] == 'module' and lines[1].split() == [
        'backbone',
        'backbone.',
        '120',
        '0',
        '0',
        '0',
        '0',
    ]


def test_the_momentum_encoder_is_as_good(path):
    report = report_of(small_resnet(init_cfg=plain(path, 'target.backbone')))
    assert not report.errors and report.row[1:3] == ('target.backbone.', 120)


def test_no_prefix_loads_nothing_and_the_error_names_what_there_is_and_the_key_to_set(path):
    report = report_of(small_resnet(init_cfg=plain(path, None)))
    (error,) = report.errors
    assert error.startswith(f'none of its 100 tensors has its value from {path}; it would train from scratch.')
    assert "backbones under 'backbone.' (120), 'target.backbone.' (120)" in error
    assert error.endswith("Set model.backbone.init_cfg.prefix='backbone.' (now '')")
    assert report.row[2:4] == (0, 120)


@pytest.mark.parametrize(
    ('changes', 'row', 'error'),
    [
        (dict(depth=34), (120, 0, 96, 0, 0), r'80 of 180 tensors .* 80 not in the file, such as layer1\.2\.conv1'),
        (
            dict(base_channels=4),
            (25, 0, 6, 95, 0),
            r'of another shape.*\(layer1\.0\.conv1\.weight: \(8, 8, 3, 3\)',
        ),
        (dict(base_channels=4, stem_channels=4), (20, 0, 0, 100, 0), r'100 of 100 tensors .* 100 of another shape'),
        (dict(norm_cfg=dict(type='GN', num_groups=2)), None, r'another depth, width or kind|have no place'),
        (dict(deep_stem=True), None, r'not in the file, such as stem\.0\.weight'),
    ],
)
def test_another_network_is_an_error(changes, row, error, path):
    import re

    report = report_of(small_resnet(init_cfg=plain(path), **changes))
    assert any(re.search(error, found, re.IGNORECASE) for found in report.errors), report.errors
    assert row is None or report.row[2:] == row


def test_a_deeper_pre_trained_network_fills_every_tensor_and_is_an_error_all_the_same(tmp_path):
    path = tmp_path / 'r34.pth'
    state = pretrained(path, dict(toy_resnet(), depth=34))
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(path))))
    assert same(detector.backbone, state, 'backbone.') == 120
    (report,) = check_model(detector, origins_in(detector))
    assert '96 tensors of the file (such as layer1.2.conv1.weight)' in report.errors[0]
    (report,) = check_model(detector, origins_in(detector), allow_surplus=True)
    assert not report.errors


def test_values_are_compared_not_names(path):
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(path))))
    with torch.no_grad():
        detector.backbone.layer3[1].conv2.weight[0, 0, 0, 0] += 1e-3
    (report,) = check_model(detector, origins_in(detector))
    assert '1 of 100 tensors do not have their value' in report.errors[0]
    assert 'in the file but not loaded, such as layer3.1.conv2.weight' in report.errors[0]


def test_statistics_of_batch_norm_count_too(path):
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(path))))
    detector.backbone.bn1.running_mean.zero_()
    (report,) = check_model(detector, origins_in(detector))
    assert 'such as bn1.running_mean' in report.errors[0]


def test_an_initialiser_that_loses_keys_is_caught(path):
    """mmpretrain's ResNet zeroes the last norm of each block after any initialiser but Pretrained."""
    model = nn.Module()
    model.backbone = MODELS.build(dict(toy_resnet(), zero_init_residual=True))
    InitFromSSL(path).write(model)
    model.backbone.init_weights()
    (report,) = check_model(model, [Origin('backbone', path, by_hook=True)])
    assert 'written and changed again' in report.errors[0] or 'do not have their value' in report.errors[0]


def bottlenecks(style: str, **changes) -> dict:
    """One block a stage, so that two of the caffe and the pytorch kind have the same names and shapes."""
    return small_resnet(
        depth=50, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1), style=style, **changes
    )


def test_caffe_style_loads_everything_computes_something_else_and_is_an_error(tmp_path):
    path = tmp_path / 'r50.pth'
    state = pretrained(path, dict(toy_resnet(), depth=50), target='StopGradTarget')
    pytorch, caffe = (built(ConfigDict(bottlenecks(s, init_cfg=plain(path)))) for s in ('pytorch', 'caffe'))
    assert same(caffe, state, 'backbone.') and same(pytorch, state, 'backbone.')
    images = torch.randn(2, 3, 64, 64)
    caffe.eval()
    pytorch.eval()
    assert not torch.allclose(caffe(images)[1], pytorch(images)[1], atol=1e-3)
    for backbone, expected in ((caffe, True), (pytorch, False)):
        model = nn.Module()
        model.backbone = backbone
        (report,) = check_model(model, [Origin('backbone', str(path), 'backbone.')])
        assert any("Set style='pytorch' (model.backbone.style)" in error for error in report.errors) == expected
    assert report.row[2:4] == (len(caffe.state_dict()), 0)


def test_a_caffe_checkpoint_wants_a_caffe_network(tmp_path):
    backbone = dict(toy_resnet(), depth=50, style='caffe')
    path = tmp_path / 'r50.pth'
    text = Config(dict(model=dict(backbone=backbone))).pretty_text
    pretrained(path, backbone, target='StopGradTarget', config=text)
    for style, expected in (('caffe', []), ('pytorch', ["Set style='caffe'"])):
        model = nn.Module()
        model.backbone = built(ConfigDict(bottlenecks(style, init_cfg=plain(path))))
        (report,) = check_model(model, [Origin('backbone', str(path), 'backbone.')])
        assert [error[error.index('Set') : error.index(' (model')] for error in report.errors] == expected


def test_another_normalisation_is_a_warning_with_both_values(path):
    cfg = faster_rcnn(small_resnet(init_cfg=plain(path)))
    cfg.data_preprocessor.update(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)
    report = report_of(cfg)
    assert not report.errors
    mean, std, order = report.warnings
    assert mean == ('data_preprocessor.mean=[103.53, 116.28, 123.675], but pre-training had [123.675, 116.28, 103.53]')
    assert 'data_preprocessor.std=[1.0, 1.0, 1.0]' in std and 'bgr_to_rgb=True' in order


def test_whole_numbers_are_a_normalisation_too(path):
    cfg = faster_rcnn(small_resnet(init_cfg=plain(path)))
    cfg.data_preprocessor.update(mean=[0, 0, 0], std=[1, 1, 1])
    assert len(report_of(cfg).warnings) == 2


def test_images_that_nothing_normalises_are_a_warning(path):
    cfg = faster_rcnn(small_resnet(init_cfg=plain(path)))
    cfg.data_preprocessor.update(mean=None, std=None)
    mean, std = report_of(cfg).warnings
    assert mean.startswith('data_preprocessor.mean=None (unless the pipeline normalises), but pre-training had [123.6')
    assert std.startswith('data_preprocessor.std=None') and std.endswith('[58.395, 57.12, 57.375]')


LOADED = dict(type='viewplug.ImageFolder', pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])
LOADED_RGB = dict(LOADED, pipeline=[LOADED['pipeline'][0], *BGR_TO_RGB])


@pytest.mark.parametrize(
    ('dataset', 'to_rgb', 'order'),
    [
        (LOADED, True, 'RGB'),
        (LOADED, False, 'BGR'),
        (dict(type='RepeatDataset', times=2, dataset=LOADED), False, 'BGR'),
        (LOADED_RGB, False, 'RGB'),
        (dict(type='CIFAR10', pipeline=[dict(type='PackInputs')]), False, 'RGB'),
        (dict(type='CIFAR10', pipeline=[dict(type='PackInputs')]), True, 'BGR'),  # turned round, whatever it is called
        (dict(type='viewplug.ShapeScenes', pipeline=[]), False, 'BGR'),
        (dict(type='viewplug.TarShards', pipeline=[]), False, 'BGR'),
        (dict(type='viewplug.ShapeScenes', pipeline=[dict(type='NumpyToPIL', to_rgb=True)]), False, 'RGB'),  # --demo
    ],
)
@pytest.mark.parametrize('swap', [True, False])
def test_another_channel_order_is_a_warning_whichever_pre_training_had(dataset, to_rgb, order, swap, tmp_path):
    text = Config(
        dict(data_preprocessor={**NORMALISATION, 'to_rgb': to_rgb}, train_dataloader=dict(dataset=dataset))
    ).pretty_text
    assert recorded_order(recorded_config(dict(meta=dict(cfg=text)))) == order
    pretrained(tmp_path / 'v.pth', config=text)
    cfg = faster_rcnn(small_resnet(init_cfg=plain(tmp_path / 'v.pth')))
    cfg.data_preprocessor.bgr_to_rgb = swap
    warnings = report_of(cfg).warnings
    same_order = swap == (order == 'RGB')
    assert len(warnings) == (not same_order)
    assert same_order or f'but pre-training saw {order}: set bgr_to_rgb={not swap}' in warnings[0]


@pytest.mark.parametrize(
    ('format', 'ending'), [('mmdet', 'pth'), ('safetensors', 'safetensors'), ('detectron2', 'pkl')]
)
def test_an_export_says_as_much_of_its_pre_training_as_the_run(format, ending, path, tmp_path):
    export(path, tmp_path / f'out.{ending}', format)
    cfg = faster_rcnn()
    cfg.data_preprocessor.update(mean=[1.0, 1.0, 1.0], bgr_to_rgb=False)
    detector = built(cfg)
    hook = InitFromSSL(str(tmp_path / f'out.{ending}'))
    hook.write(detector)
    (report,) = check_model(detector, all_origins(detector, [hook]))
    mean, order = report.warnings
    assert 'but pre-training had [123.675, 116.28, 103.53]' in mean and 'pre-training saw RGB' in order


@pytest.mark.parametrize(
    ('changes', 'warned'),
    [
        (dict(strides=(1, 2, 2, 2)), False),
        (dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), False),
        (dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)), False),
        (dict(strides=(1, 2), dilations=(1, 1), num_stages=2, out_indices=(0, 1)), False),
        (dict(strides=(1, 2, 2, 1)), True),
        (dict(strides=(1, 1, 2, 2)), True),
    ],
)
def test_other_strides_without_the_dilations_that_make_up_for_them_are_a_warning(changes, warned, path):
    model = nn.Module()
    model.backbone = built(ConfigDict(small_resnet(init_cfg=plain(path), **changes)))
    (report,) = check_model(model, [Origin('backbone', path, 'backbone.')], allow_surplus=True)
    assert not report.errors and len(report.warnings) == warned
    assert not warned or 'but pre-training had strides=(1, 2, 2, 2) with dilations=(1, 1, 1, 1)' in report.warnings[0]


def test_strides_are_compared_with_those_of_the_run(tmp_path):
    backbone = toy_resnet(strides=(2, 2, 1, 1))
    text = Config(dict(model=dict(backbone=backbone))).pretty_text
    pretrained(tmp_path / 'v.pth', backbone, config=text)
    for strides, number in (((2, 2, 1, 1), 0), ((1, 2, 2, 2), 1)):
        assert len(report_of(small_resnet(strides=strides, init_cfg=plain(tmp_path / 'v.pth'))).warnings) == number


@pytest.mark.parametrize(('num_heads', 'errors'), [(2, 0), (4, 1)])
def test_another_number_of_attention_heads_loads_everything_and_is_an_error(num_heads, errors, tmp_path):
    size = dict(embed_dim=24, depth=2, num_heads=2, img_size=32, patch_size=8)
    run = dict(type='viewplug.QueryViT', model_name='vit_tiny_patch16_224', **size)
    weights = {f'backbone.{name}': value for name, value in MODELS.build(run).state_dict().items()}
    text = Config(dict(model=dict(backbone=run), default_scope='mmpretrain')).pretty_text
    torch.save(dict(state_dict=weights, meta=dict(cfg=text)), tmp_path / 'v.pth')
    arch = dict(embed_dims=24, num_layers=2, num_heads=num_heads, feedforward_channels=96)
    model = nn.Module()
    model.backbone = built(
        ConfigDict(type='mmpretrain.VisionTransformer', arch=arch, img_size=32, patch_size=8), 'mmpretrain'
    )
    hook = InitFromSSL(str(tmp_path / 'v.pth'))
    hook.write(model)
    (report,) = check_model(model, all_origins(model, [hook]))
    assert report.row[2:4] == (len(model.backbone.state_dict()), 0) and len(report.errors) == errors
    assert not errors or 'num_heads=4, and the pre-trained network has 2' in report.errors[0]


@pytest.mark.parametrize(
    ('changes', 'note'),
    [
        (dict(norm_eval=True), 'norm_eval=True: the layers train but batch norm keeps'),
        (dict(norm_cfg=dict(type='BN', requires_grad=False)), 'frozen layers whose batch norm statistics still move'),
        (dict(frozen_stages=1), None),
        (dict(frozen_stages=4, norm_eval=True), None),
    ],
)
def test_batch_norm_that_drifts_from_its_weights_is_a_note_and_modes_stay(changes, note, path):
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(path), **changes)))
    detector.eval()
    (report,) = check_model(detector, origins_in(detector))
    assert not report.errors and len(report.notes) == (note is not None)
    assert note is None or report.notes[0].startswith(note)
    assert not any(module.training for module in detector.modules())


def test_a_module_that_should_come_from_a_file_and_got_nothing_is_an_error_though_not_required(path):
    cfg = faster_rcnn(small_resnet(init_cfg=plain(path)))
    detector = built(cfg)
    origins = [*origins_in(detector), Origin('neck', path, by_hook=True)]
    backbone, neck = check_model(detector, origins)
    assert not backbone.errors and 'nothing in the file has the names of this FPN' in neck.errors[0]


def test_a_layer_loaded_by_half_is_an_error_wherever_it_is(path):
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(path))))
    detector.backbone.layer4[0].bn1.bias.data += 1
    (report,) = check_model(detector, origins_in(detector), required=('backbone.layer1',))
    assert report.errors == ['1 tensors were left out of layers that loaded otherwise, such as layer4.0.bn1.bias']


def test_a_backbone_that_is_set_to_come_from_nowhere_is_an_error():
    detector = built(faster_rcnn())
    with pytest.raises(ValueError, match=r"backbone is set to come from nowhere.*init_cfg=dict\(type='Pretrained'"):
        check_model(detector, origins_in(detector))


def test_the_hook_of_the_run_has_the_last_word_over_init_cfg(path):
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(path))))
    hook = InitFromSSL(path, momentum=True)
    hook.write(detector)
    (origin,) = all_origins(detector, [hook])
    assert origin.by_hook and origin.momentum
    assert check_model(detector, [origin])[0].row[1:3] == ('target.backbone.', 120)


def test_layouts_that_differ_are_told_to_use_the_hook(tmp_path):
    import timm

    vit = timm.create_model('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in vit.state_dict().items()}), tmp_path / 'v.pth')
    model = nn.Module()
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=96)
    cfg = dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=32, patch_size=8)
    model.backbone = built(ConfigDict(dict(cfg, init_cfg=plain(tmp_path / 'v.pth'))), 'mmpretrain')
    (report,) = check_model(model, origins_in(model))
    assert 'timm names and the model mmpretrain names: let viewplug.InitFromSSL write them' in report.errors[0]


def convnext(**changes) -> ConfigDict:
    return ConfigDict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1] * 4, channels=[8, 16, 24, 32]), **changes)


def test_layers_that_are_new_by_intention_are_named_in_the_error_and_permitted_by_name(tmp_path):
    """A detector reads a ConvNeXt's earlier stages through norm layers that pre-training had no use for."""
    weights = {f'backbone.{key}': value for key, value in built(convnext(), 'mmpretrain').state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'v.pth')
    model = nn.Module()
    levels = dict(out_indices=[0, 1, 2, 3], gap_before_final_norm=False)
    model.backbone = built(convnext(init_cfg=plain(tmp_path / 'v.pth'), **levels), 'mmpretrain')
    (report,) = check_model(model, origins_in(model))
    (error,) = report.errors
    assert error.endswith("meant to be new, say so: viewplug.TransferCheckHook(new=['norm0', 'norm1', 'norm2'])")
    (report,) = check_model(model, origins_in(model), new=['norm0', 'norm1', 'norm2'])
    assert not report.errors
    (report,) = check_model(model, origins_in(model), new=['norm0', 'norm1'])
    assert "new=['norm2']" in report.errors[0]


def test_a_pure_python_config_names_the_initialiser_by_its_class(path):
    init_cfg = dict(type=PretrainedInit, checkpoint=path, prefix='backbone.')
    detector = built(faster_rcnn(small_resnet(init_cfg=init_cfg)))
    assert origins_in(detector) == [Origin('backbone', path, 'backbone.')]
    assert check_model(detector, origins_in(detector))[0].row[1:4] == ('backbone.', 120, 0)
    cfg = Config(dict(model=faster_rcnn(small_resnet(init_cfg=init_cfg))))
    start_from(cfg, path)
    assert 'init_cfg' not in cfg.model.backbone


def test_layers_that_a_deeper_network_has_are_not_called_new(path):
    report = report_of(small_resnet(init_cfg=plain(path), depth=34))
    assert report.errors[0].endswith('Another depth, width or kind of network than the one that was pre-trained?')


@pytest.mark.parametrize('init_cfg', [None, dict(type='Pretrained', checkpoint='somewhere.pth')])
def test_load_from_in_the_place_of_init_cfg_is_compared_too(init_cfg, path):
    detector = built(faster_rcnn())
    detector.backbone.init_cfg = init_cfg  # a stock config's, over which load_from is loaded
    detector.load_state_dict(torch.load(path, weights_only=False)['state_dict'], strict=False)
    (origin,) = all_origins(detector, [], str(path), ('backbone',))
    assert origin == Origin('backbone', str(path), 'backbone.', by_load_from=True)
    assert check_model(detector, [origin])[0].row[1:4] == ('backbone.', 120, 0)


def test_a_load_from_whose_names_do_not_fit_is_an_error_with_the_way_out(path, tmp_path):
    export(path, tmp_path / 'r.pth', 'mmdet')
    run = Run(built(faster_rcnn()))
    run._load_from = str(tmp_path / 'r.pth')
    with pytest.raises(ValueError, match=r"none of its 100 .* load_from takes names as they are.*, prefix=''\)"):
        TransferCheckHook().before_train(run)


@pytest.mark.parametrize('name', ['r.safetensors', 'r.pkl'])
def test_a_file_that_mmengine_cannot_read_is_a_sentence_before_it_tries(name):
    detector = faster_rcnn(small_resnet(init_cfg=plain(name)))
    with pytest.raises(ValueError, match=rf'init_cfg.checkpoint={name}: .* let viewplug.InitFromSSL read this one'):
        check_prefixes(build_detector(detector))


class Run:
    """What the hook sees of a Runner."""

    def __init__(self, model, hooks=()) -> None:
        import logging

        self.model, self.hooks, self.logger = model, list(hooks), logging.getLogger('check')
        self._resume = self._has_loaded = False
        self._load_from, self._train_loop = None, object()


def test_the_hook_raises_before_the_first_step_and_keeps_silent_on_resume(path):
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(path, None))))
    hook, run = TransferCheckHook(), Run(detector)
    with pytest.raises(ValueError, match='TransferCheckHook: backbone: none of its 100 tensors'):
        hook.before_train(run)
    run._resume = run._has_loaded = True
    hook.before_train(run)
    run._has_loaded = False  # nothing there to resume from: this is a start
    with pytest.raises(ValueError, match='none of its 100 tensors'):
        hook.before_train(run)


def test_one_name_needs_no_list():
    hook = HOOKS.build(dict(type='viewplug.TransferCheckHook', required='backbone', new='conv_offset'))
    assert (hook.required, hook.new) == (('backbone',), ('conv_offset',))


def test_the_hook_logs_the_table(path, caplog):
    run = Run(built(faster_rcnn(small_resnet(init_cfg=plain(path)))))
    with caplog.at_level('INFO', 'check'):
        TransferCheckHook().before_train(run)
    assert 'backbone  backbone.    120' in caplog.text


def test_a_prefix_that_is_not_in_the_file_is_a_sentence_before_mmengine_asserts(path):
    detector = build_detector(faster_rcnn(small_resnet(init_cfg=plain(path, 'encoder.'))))
    with pytest.raises(
        ValueError,
        match=r"model\.backbone\.init_cfg\.prefix='encoder\.' is not in .*v\.pth\. The file has backbones under",
    ):
        TransferCheckHook().before_run(Run(detector))


def test_a_recorded_config_is_read_and_never_run(tmp_path):
    text = (
        f"x = __import__('os').system('touch {tmp_path}/written')\nopen('{tmp_path}/written', 'w')\n"
        "model = dict(type='A', backbone=dict(depth=50, style='caffe', out_indices=(0, -1)), f=print(1))\n"
        "data_preprocessor = {'mean': [1.5, 2, 3], 'to_rgb': True}\n"
    )
    found = recorded_config(dict(meta=dict(cfg=text)))
    assert found['model'] == dict(type='A', backbone=dict(depth=50, style='caffe', out_indices=[0, -1]), f=None)
    assert recorded_normalisation(found) == dict(mean=[1.5, 2, 3], to_rgb=True)
    assert found['x'] is None and not (tmp_path / 'written').exists()
    assert recorded_config(dict(meta=dict(cfg='a = ='))) == {} and recorded_config({}) == {}
    assert recorded_commit(dict(meta=dict(mmengine_version='0.10.12' + 'c0' * 20))) == 'c0' * 20
    assert recorded_commit(dict(meta=dict(mmengine_version='0.10.12'))) is None


@pytest.mark.parametrize('by_hook', [False, True], ids=['init_cfg', 'InitFromSSL'])
def test_positions_of_a_query_vit_are_resized_alike_by_itself_and_by_the_check(tmp_path, by_hook):
    size = dict(model_name='vit_tiny_patch16_224', embed_dim=24, depth=2, num_heads=2)
    torch.save(MODELS.build(dict(type='viewplug.QueryViT', img_size=32, **size)).state_dict(), tmp_path / 'v.pth')
    start = {} if by_hook else dict(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'v.pth')))
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='viewplug.QueryViT', img_size=64, **size, **start))
    model.backbone.init_weights()
    if by_hook:
        InitFromSSL(str(tmp_path / 'v.pth')).write(model)
    origin = Origin('backbone', str(tmp_path / 'v.pth'), source='', by_hook=by_hook)
    (report,) = check_model(model, [origin])
    assert not report.errors and 'pos_embed resized from 5 to 17 tokens' in report.notes
