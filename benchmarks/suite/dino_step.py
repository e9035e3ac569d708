"""DINO's training step: views of two sizes through ViT-S/16 and the projections on both sides, loss, AdamW, momentum.

viewplug's model is that of configs/_base_/dino_vit_small.py. lightly gives the projections, the loss and the momentum
update; the networks around them are timm's, with the same weights and optimiser, so that the losses of all steps are
the same. Student and teacher see views one by one, as in lightly's own example, or those of one size together, network
and projection alike; viewplug gives the rows of both sizes to the projection at once. Nobody drops paths, which would
be different ones.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from mmengine import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from .contest import Contest, Contestant, Setting
from .loss_peers import GLOBALS, VIEWS
from .step_models import CONFIGS

MOMENTUM = 0.996
TEACHER_TEMPERATURE = 0.07
TOY = dict(model_name='vit_tiny_patch16_224', img_size=32, depth=2)
TOY_PROTOTYPES = 32


def contest(setting: Setting) -> Contest:
    toy = setting.quick
    sizes = (32, 16) if toy else (224, 96)
    batch = 4 if toy else 2 * (16 if setting.device == 'cuda' else 1)
    makers = {
        'viewplug': viewplug_model,
        'lightly': lambda toy: LightlyDINO(viewplug_model(toy), joint=False),
        'lightly, views of one size together': lambda toy: LightlyDINO(viewplug_model(toy), joint=True),
    }
    entrants = [
        Contestant(
            name,
            lambda make=make: DINOStep(make(toy), batch, sizes, setting.device),
            items=batch,
            batch=batch,
            ours=name == 'viewplug',
        )
        for name, make in makers.items()
    ]
    prototypes = TOY_PROTOTYPES if toy else 65536
    work = (
        f'DINO, {"toy ViT" if toy else "ViT-S/16"}, {GLOBALS} x {sizes[0]} + {VIEWS - GLOBALS} x {sizes[1]} px, '
        f'{prototypes:,} prototypes, batch {batch}'
    )
    return Contest('dino_224', work, 'images', entrants, seconds=0 if toy else 60, memory=True)


class DINOStep:
    """One training step a call, on the same random views each time.

    Args:
        model: ``model(views, mode='loss')`` gives a mapping of losses; what is called after the optimiser's step is
            its ``after_step``, if it has one.
        batch, sizes: of the views (N, 3, S, S), global and local.
        device: of it all.
    """

    def __init__(self, model: nn.Module, batch: int, sizes: tuple[int, int], device: str) -> None:
        random = torch.Generator().manual_seed(0)
        self.model = model.to(device).train()
        sides = [sizes[0]] * GLOBALS + [sizes[1]] * (VIEWS - GLOBALS)
        self.views = [torch.randn(batch, 3, side, side, generator=random).to(device) for side in sides]
        online = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(online, lr=1e-4, weight_decay=0.04)

    def __call__(self) -> Tensor:
        losses = self.model(self.views, mode='loss')
        loss = sum(value for key, value in losses.items() if 'loss' in key)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if hasattr(self.model, 'after_step'):
            self.model.after_step()
        return loss.detach()


def viewplug_model(toy: bool = False) -> nn.Module:
    """The model of the config, random weights from a fixed seed."""
    cfg = Config.fromfile(CONFIGS / 'dino_vit_small.py').model.to_dict()
    cfg['backbone']['drop_path_rate'] = 0.0
    cfg['target'].update(momentum=MOMENTUM, end_momentum=None)
    branch = cfg['branches']['cls']
    branch['head'].update(warmup_epochs=0, teacher_temperature=TEACHER_TEMPERATURE)
    if toy:
        cfg['backbone'].update(TOY)
        branch['neck'].update(hidden_channels=32, out_channels=TOY_PROTOTYPES)
    torch.manual_seed(0)
    return MODELS.build(cfg)


class LightlyDINO(nn.Module):
    """DINO of lightly's parts around timm's ViT, with the weights of ``ours``.

    Args:
        ours: viewplug's model.
        joint: views of one size go through the network together.
    """

    def __init__(self, ours: nn.Module, joint: bool) -> None:
        from lightly.loss import DINOLoss
        from lightly.models.modules.heads import DINOProjectionHead
        from lightly.models.utils import update_momentum
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        backbone, neck = ours.backbone, ours.branches['cls'].neck
        plain = VisionTransformer(
            img_size=backbone.patch_embed.img_size,
            embed_dim=backbone.embed_dim,
            depth=len(backbone.blocks),
            num_heads=backbone.blocks[0].attn.num_heads,
            num_classes=0,
            dynamic_img_size=True,
        )
        plain.load_state_dict(backbone.state_dict())
        head = DINOProjectionHead(
            backbone.embed_dim, neck.mlp[0].out_features, output_dim=neck.out_channels, norm_last_layer=False
        )
        linear = [layer for layer in head.layers if isinstance(layer, nn.Linear)]
        theirs = [layer for layer in neck.mlp if isinstance(layer, nn.Linear)]
        for layer, source in zip(linear, theirs, strict=True):
            layer.load_state_dict(source.state_dict())
        weight = neck.last_layer.parametrizations.weight
        head.last_layer.load_state_dict(dict(weight_g=weight.original0, weight_v=weight.original1))
        self.student = nn.Sequential(plain, head)
        # deepcopy does not take the tensor that weight_norm derives.
        derived, head.last_layer.weight = head.last_layer.weight, None
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        head.last_layer.weight = derived
        self.criterion = DINOLoss(neck.out_channels, warmup_teacher_temp_epochs=0)
        self.joint, self._update_momentum = joint, update_momentum

    def forward(self, views: Sequence[Tensor], mode: str) -> dict[str, Tensor]:
        with torch.no_grad():
            targets = self._through(self.teacher, views[:GLOBALS])
        online = self._through(self.student, views)
        return dict(loss=self.criterion(targets, online, teacher_temp=TEACHER_TEMPERATURE))

    def after_step(self) -> None:
        self._update_momentum(self.student, self.teacher, MOMENTUM)

    def _through(self, network: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
        if not self.joint:
            return [network(view) for view in views]
        sizes = (views[:GLOBALS], views[GLOBALS:])
        return [rows for part in sizes if part for rows in network(torch.cat(list(part))).chunk(len(part))]
