"""Child registries of mmengine's roots, scope ``viewplug``.

``type='viewplug.X'`` resolves in a config of any OpenMMLab library without an import line, because mmengine imports
``<scope>.registry`` when it meets a prefix. Built through one of these registries, a bare name of ours resolves too,
whatever the default scope is, and a misspelt one is answered with the nearest names.
"""

import inspect

from mmengine import registry as root
from mmengine.registry import Registry

from viewplug.argument_kinds import heed_hints
from viewplug.unknown_type import unknown_type

LIBRARIES = ('mmengine', 'mmcv', 'torch', 'torchvision')
"""Whose parts in mmengine's roots are meant to be replaced by those of the default scope, or ours."""


class CheckedRegistry(Registry):
    """mmengine's, whose classes of viewplug refuse arguments of another kind than their hints say."""

    def _register_module(self, module, *args, **kwargs) -> None:
        if inspect.isclass(module) and module.__module__.split('.')[0] == 'viewplug':
            heed_hints(module)
        super()._register_module(module, *args, **kwargs)


def _child(parent: Registry, *folders: str) -> Registry:
    """A registry whose parts live in ``viewplug.<folder>``; they are imported at the first look-up."""

    def build(cfg, registry, *args, **kwargs):
        name = cfg.get('type') if isinstance(cfg, dict) else None
        if isinstance(name, str) and '.' not in name:
            check_not_hidden(name, registry)
            if name in own_names(registry):
                cfg = {**cfg, 'type': f'viewplug.{name}'}
        try:
            return parent.build_func(cfg, *args, registry=registry, **kwargs)
        except KeyError as error:
            if f'{name} is not in the' not in str(error):
                raise
            raise KeyError(unknown_type(error.args[0], name, registry)) from None

    locations = [f'viewplug.{folder}' for folder in folders]
    return CheckedRegistry(parent.name, build_func=build, parent=parent, scope='viewplug', locations=locations)


def check_not_hidden(name: str, registry: Registry) -> None:
    """
    Args:
        registry: that builds ``type=name``: one of ours, whose own parts come first, or one of mmengine's roots.

    Raises:
        ValueError: somebody registered a class of this bare name in mmengine's root, and another would be built.
    """
    mine = somebodys(name, registry.parent or registry)
    if mine is None:
        return
    if registry.parent is not None and name in own_names(registry):
        scope, found = registry.scope, registry.module_dict[name]
    else:
        with registry.switch_scope_and_registry(None) as scoped:  # the default scope's come first in mmengine's build
            scope, found = scoped.scope, scoped.get(name)
    if found is not mine:
        raise ValueError(
            f'type={name!r} is {mine.__module__}.{mine.__name__}, registered with mmengine, and '
            f'{found.__module__}.{found.__name__}, which would be built: give yours a name that no library has, or '
            f"say which is meant, type='mmengine.{name}' or type='{scope}.{name}'"
        )


def somebodys(name: str, root: Registry) -> type | None:
    """The class of this bare name in one of mmengine's roots, if none of ``LIBRARIES`` has put it there."""
    found = root.module_dict.get(name)
    return None if found is None or found.__module__.split('.')[0] in LIBRARIES else found


def own_names(registry: Registry) -> list[str]:
    """The names that viewplug itself has put into ``registry``."""
    registry.import_from_location()
    return list(registry.module_dict)


def class_of(kind: str | type) -> type | None:
    """What ``MODELS`` would build of ``type=``, if there is such a part."""
    if not isinstance(kind, str):
        return kind
    found = MODELS.get(kind if '.' in kind else f'viewplug.{kind}')
    if found is None:
        with MODELS.switch_scope_and_registry(None) as registry:  # the default scope's, as mmengine's build takes it
            found = registry.get(kind)
    return found


def class_name(kind: str | type) -> str:
    """The bare name behind ``type=`` of a config: of 'viewplug.X', of a longer path, or of the class itself."""
    return (kind if isinstance(kind, str) else kind.__name__).split('.')[-1]


MODELS = _child(
    root.MODELS, 'backbones', 'necks', 'heads', 'losses', 'targets', 'frameworks', 'batch_views', 'detection'
)
DATASETS = _child(root.DATASETS, 'datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'transforms', 'detection')
METRICS = _child(root.METRICS, 'detection.lvis_metric')
HOOKS = _child(root.HOOKS, 'hooks', 'transfer')
LOOPS = _child(root.LOOPS, 'epoch_loop')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'amp')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'lars_constructor')
FUNCTIONS = _child(root.FUNCTIONS, 'datasets')
