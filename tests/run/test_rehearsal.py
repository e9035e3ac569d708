"""What a run's first step would say is said by its rehearsal, and nothing else."""

import pytest
import torch
from mmengine import Config
from mmengine.registry import DefaultScope

from viewplug.run.demo import to_demo
from viewplug.run.rehearsal import rehearse

CONFIGS = ('mocov2_hcl_r50', 'byol_r50', 'adclr/adclr_ibot_vit_small_in1k', 'resim/mocov2_ccrop_hcl_resim_r50')


def small(name: str, views: str) -> Config:
    from viewplug.config.switches import place_views

    cfg = to_demo(Config.fromfile(f'configs/{name}.py'))
    cfg.train_dataloader.dataset.update(num_images=8, image_size=32)
    cfg.views, cfg.in_memory = views, views == 'device'
    place_views(cfg)
    return cfg


@pytest.fixture(autouse=True)
def root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize('views', ['sample', 'device'])
@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_that_trains_passes_and_stays_as_it_was(name, views):
    cfg = small(name, views)
    before, torch_state = cfg.pretty_text, torch.get_rng_state()
    scope = DefaultScope.get_current_instance()
    rehearse(cfg)
    assert cfg.pretty_text == before and torch.equal(torch.get_rng_state(), torch_state)
    assert DefaultScope.get_current_instance() is scope


def test_one_that_does_not_says_why():
    cfg = small('mocov2_hcl_r50', 'sample')
    cfg.model.branches.image.neck.input_size = 64
    with pytest.raises(ValueError, match='HCLNeck: input_size=64'):
        rehearse(cfg)
