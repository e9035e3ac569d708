"""Run a function in several processes that talk over gloo."""

import sys

import torch
from torch import distributed, multiprocessing


def in_processes(function, folder, *args, count: int = 2) -> list:
    """What ``function(*args)`` returns in each of ``count`` processes, in the order of their ranks.

    Args:
        function: a module's own function, so that the processes can import it.
        folder: an empty folder to meet in (``tmp_path``).
    """
    multiprocessing.set_forkserver_preload(['mmpretrain.models', 'viewplug.frameworks', 'viewplug.transforms'])
    multiprocessing.start_processes(
        _run, args=(count, str(folder), sys.path, function, args), nprocs=count, start_method='forkserver'
    )
    return [torch.load(f'{folder}/result_{rank}.pt', weights_only=False) for rank in range(count)]


def _run(rank: int, count: int, folder: str, path: list[str], function, args) -> None:
    sys.path[:] = path
    torch.set_num_threads(1)
    torch.manual_seed(0)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=count)
    torch.save(function(*args), f'{folder}/result_{rank}.pt')
    distributed.destroy_process_group()
