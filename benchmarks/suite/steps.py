"""A training step: online and target forward, loss, backward, SGD, queue and momentum update, on fixed random views.

viewplug's model is that of its config (configs/_base_; ResNet-18 in place of 50 at 224 px but for MoCo), mmpretrain's
its own algorithm class, with the same backbone, neck, queue, starting weights and optimiser: both have the same loss.
MoCo has a full queue and a target with batch statistics, as mmpretrain's, and not start='empty' and eman=True as
viewplug's config for 32 px. DINO, which mmpretrain has not, is dino_step.py's. Peak memory: of model, optimiser and
two steps, in a process of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import dino_step
from .contest import Contest, Contestant, Setting
from .step_models import Step, stock_model, viewplug_model


@dataclass(frozen=True)
class Work:
    """
    Attributes:
        key, name: of the contest, of the framework.
        config: in configs/_base_.
        depth: of the ResNet.
        size: of the views, px.
        batch: images on a CPU; eight times as many on a GPU.
        seconds: for its rounds.
    """

    key: str
    name: str
    config: str
    depth: int
    size: int
    batch: int
    seconds: float


WORKS = (
    Work('moco_224', 'MoCo v2', 'moco_r50', 50, 224, 8, 60),
    Work('simclr_224', 'SimCLR', 'simclr_r50', 18, 224, 8, 20),
    Work('byol_224', 'BYOL', 'byol_r50', 18, 224, 8, 20),
    Work('simsiam_224', 'SimSiam', 'simsiam_r50', 18, 224, 8, 20),
    Work('moco_32', 'MoCo v2', 'moco_r18_32px', 18, 32, 32, 20),
    Work('simclr_32', 'SimCLR', 'simclr_r18_32px', 18, 32, 32, 20),
    Work('byol_32', 'BYOL', 'byol_r18_32px', 18, 32, 32, 20),
    Work('simsiam_32', 'SimSiam', 'simsiam_r18_32px', 18, 32, 32, 20),
)


def contests(setting: Setting) -> list[Contest]:
    return [*(_contest(work, setting) for work in WORKS), dino_step.contest(setting)]


def _contest(work: Work, setting: Setting) -> Contest:
    toy = setting.quick
    batch = 4 if toy else work.batch * (8 if setting.device == 'cuda' else 1)
    size = 32 if toy else work.size

    def entrant(name: str, model) -> Contestant:
        return Contestant(
            name,
            lambda: Step(model(work.config, work.depth, toy), batch, size, setting.device),
            items=batch,
            batch=batch,
            ours=name == 'viewplug',
        )

    backbone = f'ResNet-{work.depth}' + (' (CIFAR)' if work.size == 32 else '')
    return Contest(
        work.key,
        f'{work.name}, {backbone}, {size} px, batch {batch}',
        'images',
        [entrant('viewplug', viewplug_model), entrant('mmpretrain', stock_model)],
        seconds=0 if toy else work.seconds,
        memory=True,
    )
