"""Eight processes with an eighth of the batch each do what one process does with the whole of it."""

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_rank
from mmengine.runner import Runner
from processes import in_processes
from steps import fit
from torch.utils.data import DataLoader
from toys import ToyImages, mlp_branch, toy_siamese

from viewplug.datasets import InMemoryDataset, ShapeScenes, take_batch
from viewplug.hooks import LocalizationHook
from viewplug.transforms import META_KEYS

RANKS, BATCH, STEPS, IMAGES = 8, 16, 3, 21
METHODS = ('moco', 'simclr', 'byol')


def framework(method: str):
    """Without batch norm, so that images do not see each other; the queue wraps round in the third step."""
    both = dict(online_views=(0, 1), target_views=(0, 1))
    momentum = dict(type='MomentumTarget', momentum=0.9)
    if method == 'moco':
        return toy_siamese(branches=dict(image=mlp_branch(queue_len=40)), target=dict(momentum, shuffle_bn=True))
    if method == 'simclr':
        head = dict(type='InBatchHead', loss=dict(type='InfoNCELoss', temperature=0.3))
        return toy_siamese(
            branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=6), head=head)),
            target=dict(type='SharedTarget'),
            joint_views=True,
            **both,
        )
    neck = dict(type='MLPNeck', out_channels=6, normalize=False)
    head = dict(type='PredictHead', predictor=dict(type='MLPNeck', hidden_channels=5, normalize=False))
    return toy_siamese(branches=dict(image=dict(neck=neck, head=head)), target=momentum, **both)


def history(method: str, wrap: bool) -> list[dict]:
    """The steps of one process; float64, since float32 sums depend on the size of a batch."""
    views = torch.randn(STEPS, 2, BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    torch.manual_seed(1)
    return fit(framework(method).double(), views, wrap)


def images_of_an_epoch(number: int) -> tuple[list[int], torch.Tensor]:
    dataset = InMemoryDataset(ShapeScenes(num_images=number, image_size=24), device='cpu')
    sampler = DefaultSampler(dataset, shuffle=True, seed=3)
    batches = list(DataLoader(dataset, 2, sampler=sampler, collate_fn=take_batch))
    indices = torch.cat([batch['sample_idx'] for batch in batches])
    return indices.tolist(), torch.cat([batch['inputs'] for batch in batches])


def boxes_of_a_run(work_dir) -> np.ndarray:
    """What this rank's loader reads after LocalizationHook's update. The network does not learn, so needs no DDP."""
    crop = dict(type='viewplug.ContrastiveCrop', scale=16)
    pipeline = [
        dict(type='viewplug.MultiView', num_views=2, transforms=[[crop]]),
        dict(type='mmpretrain.PackInputs', meta_keys=META_KEYS),
    ]
    torch.manual_seed(1)
    runner = Runner(
        model=toy_siamese(),
        work_dir=f'{work_dir}/{get_rank()}',
        experiment_name='eight_ranks',
        train_dataloader=dict(
            batch_size=1,  # LocalizationHook's too: float32 convolutions round by the size of the batch
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=ToyImages(IMAGES, size=16, pipeline=pipeline),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        custom_hooks=[LocalizationHook(start=0, interval=1, threshold=0.5)],
        default_hooks=dict(checkpoint=None),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        randomness=dict(seed=5),
    )
    runner.train()
    return runner.train_dataloader.dataset.pipeline.transforms[0].pipelines[0].transforms[0].box_store.read_all()


def everything(work_dir) -> dict:
    return dict(
        histories={method: history(method, wrap=True) for method in METHODS},
        whole=images_of_an_epoch(3 * RANKS),
        uneven=images_of_an_epoch(IMAGES),
        boxes=boxes_of_a_run(work_dir),
    )


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp('ranks')
    return in_processes(everything, folder, folder / 'run', count=RANKS)


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('method', METHODS)
def test_eight_processes_have_the_loss_and_gradients_of_one(ranks, method):
    for step, alone in enumerate(history(method, wrap=False)):
        shares = [rank['histories'][method][step] for rank in ranks]
        assert sum(share['loss'] for share in shares) / RANKS == pytest.approx(alone['loss'], rel=1e-10)
        assert len({share['loss'] for share in shares}) == RANKS
        assert max(gradient.abs().max() for gradient in alone['gradients'].values()) > 1e-3
        for share in shares:
            assert all(equal(share['gradients'][key], value) for key, value in alone['gradients'].items())


@pytest.mark.parametrize('method', METHODS)
def test_eight_processes_have_the_weights_targets_and_queue_of_one(ranks, method):
    for step, alone in enumerate(history(method, wrap=False)):
        for rank in ranks:
            state = rank['histories'][method][step]['state']
            assert all(equal(state[key], value) for key, value in alone['state'].items())


def test_the_queue_is_the_same_on_all_ranks_to_the_bit(ranks):
    queues = [rank['histories']['moco'][-1]['state']['branches.image.head.queue'] for rank in ranks]
    assert all(torch.equal(queue, queues[0]) for queue in queues)


def test_ranks_share_out_an_epoch_of_images_in_memory(ranks):
    shares = [rank['whole'] for rank in ranks]
    assert all(len(indices) == 3 for indices, _ in shares)
    assert sorted(index for indices, _ in shares for index in indices) == list(range(3 * RANKS))
    scenes = ShapeScenes(num_images=3 * RANKS, image_size=24)
    for indices, images in shares:
        for index, image in zip(indices, images, strict=True):
            assert torch.equal(image, torch.from_numpy(scenes[index]['img']).permute(2, 0, 1))


def test_an_epoch_that_eight_does_not_divide_repeats_as_few_images_as_make_it_so(ranks):
    indices = [index for rank in ranks for index in rank['uneven'][0]]
    assert len(indices) == 3 * RANKS and set(indices) == set(range(IMAGES))


def test_every_rank_has_all_boxes_and_those_that_one_process_finds(ranks, tmp_path):
    alone = boxes_of_a_run(tmp_path)
    assert alone.shape == (IMAGES, 4) and len(np.unique(alone, axis=0)) > IMAGES // 2
    assert all(np.array_equal(rank['boxes'], alone) for rank in ranks)
