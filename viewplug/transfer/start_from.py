"""``--init CKPT``: the one field of a config that makes its run start from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine import Config

from viewplug.config.model_config import is_pretrained
from viewplug.transfer.checkpoint import read_checkpoint, weights_of
from viewplug.transfer.matching import is_momentum

SHARED_HEAD = 'roi_head.shared_head'


def start_from(cfg: Config, checkpoint: str) -> str:
    """Make ``cfg`` start from ``checkpoint`` and say how.

    A pre-training config of viewplug gets ``load_from`` and ``viewplug.CarryOverHook`` where the file is a whole model
    with a ``backbone.``, as viewplug, mmpretrain and mmdet write it. Any other file or config with a
    ``model.backbone`` gets ``viewplug.InitFromSSL`` (its own one, where it has one, the checkpoint) and
    ``viewplug.TransferCheckHook``: for the backbone, a shared head, and whatever has an ``init_cfg`` of type
    Pretrained, which is taken away.

    Raises:
        ValueError: the file cannot be read safely, or the config has no backbone.
    """
    weights = weights_of(read_checkpoint(checkpoint))  # safely, before mmengine's own loader can
    model = cfg.get('model') or {}
    hooks = list(cfg.get('custom_hooks') or [])
    if is_pretraining(model) and any(name.startswith('backbone.') for name in weights):
        cfg.load_from = checkpoint
        if not _hook(hooks, 'CarryOverHook'):
            cfg.custom_hooks = [*hooks, dict(type='viewplug.CarryOverHook')]
        return f'load_from={checkpoint}'
    if is_pretraining(model):
        cfg.load_from = None
        hooks = [hook for hook in hooks if hook is not _hook(hooks, 'CarryOverHook')]
    if not isinstance(model.get('backbone'), dict):
        raise ValueError(
            f'--init fills model.backbone, and this config has none (model.type={model.get("type")!r}); '
            'set load_from for a whole model'
        )
    modules, momentum = {'backbone': 'auto'}, False
    if (model.get('roi_head') or {}).get('shared_head'):
        modules[SHARED_HEAD] = 'auto'
    for name, part in pretrained_parts(model):
        init = part.pop('init_cfg')
        if name:
            modules[name] = 'auto'
        momentum |= name == 'backbone' and is_momentum(init.get('prefix') or '')
    for part in (model, model.backbone):  # mmsegmentation's way and TIMMBackbone's
        if part.get('pretrained'):
            part['pretrained'] = None if isinstance(part['pretrained'], str) else False
    writer = _hook(hooks, 'InitFromSSL')
    if writer:
        writer['checkpoint'] = checkpoint
    else:
        writer = dict(type='viewplug.InitFromSSL', checkpoint=checkpoint, modules=modules, momentum=momentum)
        hooks.append(writer)
    if not _hook(hooks, 'TransferCheckHook'):
        required = [] if is_pretraining(model) else ['backbone']  # iBOT's mask token is in no other file
        if SHARED_HEAD in modules:
            required.append(f'{SHARED_HEAD}.layer{model.roi_head.shared_head.get("stage", 3) + 1}')
        hooks.append(dict(type='viewplug.TransferCheckHook', required=required))
    cfg.custom_hooks = hooks
    return f'viewplug.InitFromSSL writes {", ".join(writer.get("modules", modules))} from {checkpoint}'


def set_checkpoint(cfg: Config, checkpoint: str) -> None:
    """The config as it is, with ``checkpoint`` wherever it names a pre-trained file."""
    model = cfg.get('model') or {}
    if cfg.get('load_from'):
        cfg.load_from = checkpoint
    for _, part in pretrained_parts(model):
        part['init_cfg']['checkpoint'] = checkpoint
    if model.get('pretrained'):
        model['pretrained'] = checkpoint
    writer = _hook(cfg.get('custom_hooks') or [], 'InitFromSSL')
    if writer:
        writer['checkpoint'] = checkpoint


def is_pretraining(model: dict) -> bool:
    """Whether a model config is one of viewplug's own frameworks."""
    kind = model.get('type', '')
    name = kind if isinstance(kind, str) else f'{kind.__module__}.{kind.__name__}'
    return name.startswith('viewplug.') and not name.endswith('LinearClassifier')


def pretrained_parts(cfg: dict, name: str = '') -> Iterator[tuple[str, dict]]:
    """Dotted name and config of the parts of a model whose ``init_cfg`` is ``Pretrained``."""
    if is_pretrained(cfg.get('init_cfg')):
        yield name, cfg
    for key, value in list(cfg.items()):
        if isinstance(value, dict) and key != 'init_cfg':
            yield from pretrained_parts(value, f'{name}.{key}' if name else key)


def _hook(hooks: list, name: str) -> dict | None:
    """The config of the hook of class ``name``, if there is one."""
    for hook in hooks:
        kind = hook.get('type') if isinstance(hook, dict) else None
        if kind is not None and (kind if isinstance(kind, str) else kind.__name__).split('.')[-1] == name:
            return hook
    return None
