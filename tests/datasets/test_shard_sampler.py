"""ShardSampler: every image once, shard after shard."""

import numpy as np
import pytest
from mmengine.registry import DATA_SAMPLERS
from processes import in_processes

from viewplug.datasets import ShardSampler, shard_sampler

SIZES = (5, 1, 0, 7, 3, 4)


class Shards:
    """Shards of SIZES images."""

    def __init__(self, sizes=SIZES) -> None:
        self.shard_starts = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return int(self.shard_starts[-1])


def samplers(monkeypatch, world: int, **kwargs) -> list[ShardSampler]:
    found = []
    for rank in range(world):
        monkeypatch.setattr(shard_sampler, 'get_dist_info', lambda rank=rank: (rank, world))
        found.append(ShardSampler(Shards(), seed=3, **kwargs))
    return found


def shard_of(image: int) -> int:
    return int(np.searchsorted(np.cumsum(SIZES), image, side='right'))


@pytest.mark.parametrize('world', [1, 2, 3, 8, 30])
@pytest.mark.parametrize('window', [1, 3, 100])
@pytest.mark.parametrize('round_up', [True, False])
def test_an_epoch_has_every_image_once_over_all_ranks(monkeypatch, world, window, round_up):
    ranks = [list(sampler) for sampler in samplers(monkeypatch, world, window=window, round_up=round_up)]
    images = [image for rank in ranks for image in rank]
    assert set(images) == set(range(20))
    assert len(images) == (-(-20 // world) * world if round_up else 20)
    lengths = {len(rank) for rank in ranks}
    assert max(lengths) - min(lengths) <= (0 if round_up else 1)


def test_its_length_is_the_number_of_images_it_gives(monkeypatch):
    for round_up in (True, False):
        for sampler in samplers(monkeypatch, 3, round_up=round_up):
            assert len(sampler) == len(list(sampler))


def test_without_mixing_a_rank_goes_through_shards_one_after_another_from_their_beginning(monkeypatch):
    for sampler in samplers(monkeypatch, 2, window=1):
        images = list(sampler)
        steps = np.diff(images)
        changes = [i for i in range(9) if shard_of(images[i]) != shard_of(images[i + 1])]
        assert all(steps[i] == 1 for i in range(9) if i not in changes)
        assert len(changes) == len({shard_of(image) for image in images}) - 1


def test_no_image_is_further_from_its_place_than_the_window(monkeypatch):
    (mixed,) = samplers(monkeypatch, 1, window=4)
    (straight,) = samplers(monkeypatch, 1, window=1)
    place = {image: number for number, image in enumerate(straight)}
    moved = [abs(number - place[image]) for number, image in enumerate(mixed)]
    assert 0 < max(moved) < 4
    for low in range(0, 20, 4):
        assert set(list(mixed)[low : low + 4]) == set(list(straight)[low : low + 4])


def test_without_shuffle_the_order_is_the_data_sets(monkeypatch):
    found = [image for sampler in samplers(monkeypatch, 4, shuffle=False, window=3) for image in sampler]
    assert found == list(range(20))


def test_epochs_differ_and_come_again(monkeypatch):
    (sampler,) = samplers(monkeypatch, 1, window=3)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_memory_is_a_window_however_many_images_there_are():
    sampler = ShardSampler(Shards([10_000] * 100_000), seed=0, window=64)  # a billion
    images = iter(sampler)
    first = [next(images) for _ in range(64)]
    assert len(sampler) == 10**9 and len({image // 10_000 for image in first}) == 1


def order_on_a_rank() -> list[int]:
    return list(ShardSampler(Shards(), window=3))


def test_ranks_agree_on_a_seed(tmp_path):
    first, second = in_processes(order_on_a_rank, tmp_path)
    assert sorted(first + second) == list(range(20))


def test_a_config_builds_it():
    sampler = DATA_SAMPLERS.build(
        dict(type='viewplug.ShardSampler', window=2), default_args=dict(dataset=Shards(), seed=5)
    )
    assert sampler.seed == 5 and sorted(sampler) == list(range(20))


def test_a_data_set_without_shards_is_refused_by_name():
    with pytest.raises(ValueError, match='list has none; use viewplug.TarShards'):
        ShardSampler([1, 2, 3])


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match='window must be at least 1 image, got 0'):
        ShardSampler(Shards(), window=0)
