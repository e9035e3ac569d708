import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier
from toys import ToyImages, toy_resnet

from viewplug.frameworks import LinearClassifier
from viewplug.hooks import FrozenBackboneHook


class Labelled(ToyImages):
    def prepare_data(self, idx):
        info = super().prepare_data(idx)
        info['data_samples'].set_gt_label(idx % 3)
        return info


def classifier(kind=LinearClassifier, **backbone):
    model = kind(
        backbone=dict(toy_resnet(), **backbone),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=64, loss=dict(type='CrossEntropyLoss')),
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3),
    )
    return model


def train(model, tmp_path, epochs=2, **hook):
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        default_scope='mmpretrain',
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=Labelled(number=8, size=32, pipeline=[dict(type='mmpretrain.PackInputs')]),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        custom_hooks=[FrozenBackboneHook(**hook)],
        default_hooks=dict(checkpoint=None),
        experiment_name=tmp_path.name,
    )
    runner.train()
    return runner


def test_a_linear_classifier_trains_its_head_and_leaves_every_tensor_of_the_backbone(tmp_path):
    model = classifier()
    before = None

    def keep(module, args):  # after the Runner's init_weights, before the first step
        nonlocal before
        before = before or {key: value.clone() for key, value in module.state_dict().items()}

    model.register_forward_pre_hook(keep)
    train(model, tmp_path)
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before if key.startswith('backbone.'))
    assert not torch.equal(after['head.fc.weight'], before['head.fc.weight'])
    assert any('running_var' in key for key in before) and not model.backbone.training
    assert model.training and model.head.training


def test_parameters_that_learn_stop_the_run(tmp_path):
    with pytest.raises(RuntimeError, match='tensors of backbone changed in epoch 1 .such as .*LinearClassifier'):
        train(classifier(ImageClassifier), tmp_path)


def test_batch_statistics_that_move_stop_the_run_though_no_parameter_learns(tmp_path):
    model = classifier(ImageClassifier)
    model.backbone.requires_grad_(False)
    with pytest.raises(RuntimeError, match='such as bn1.running_mean'):
        train(model, tmp_path)


def test_frozen_stages_of_a_backbone_pass_too(tmp_path):
    train(classifier(ImageClassifier, frozen_stages=4), tmp_path)


def test_only_the_module_named_has_to_stand_still(tmp_path):
    train(classifier(ImageClassifier, frozen_stages=1), tmp_path, module='backbone.layer1')
    with pytest.raises(ValueError, match="module='trunk' is not in ImageClassifier"):
        train(classifier(ImageClassifier), tmp_path, module='trunk')


def test_weights_must_be_those_of_the_checkpoint(tmp_path):
    torch.manual_seed(1)
    other = classifier()
    other.init_weights()
    path = str(tmp_path / 'other.pth')
    torch.save(dict(state_dict=other.state_dict()), path)
    loaded = classifier(init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'))
    train(loaded, tmp_path / 'a', checkpoint=path)
    with pytest.raises(ValueError, match='of backbone differ from checkpoint=.*other.pth'):
        train(classifier(), tmp_path / 'b', checkpoint=path)
    deeper = classifier(depth=34, init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'))
    with pytest.raises(ValueError, match='tensors of backbone are not in checkpoint=.*such as layer'):
        train(deeper, tmp_path / 'c', checkpoint=path)
    with pytest.raises(ValueError, match="nothing under prefix='encoder.'; it has backbone., head."):
        train(loaded, tmp_path / 'd', checkpoint=path, prefix='encoder.')
