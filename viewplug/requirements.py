"""OpenMMLab comes in two distributions of the same import names, so setup.cfg makes neither a hard dependency."""

import importlib

EXTRA = {
    'mmengine': 'onedl',
    'mmcv': 'onedl',
    'mmpretrain': 'onedl',
    'timm': 'onedl',
    'mmdet': 'det',
    'sklearn': 'study',
}


def require(*modules: str) -> None:
    """Import ``modules`` or say in one sentence how to install what is missing.

    Raises:
        ImportError: one of them does not import.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            extra = EXTRA.get(module, 'onedl')
            official = ", or -e '.[openmmlab]' without -c where the official mmengine line is installed" * (
                extra == 'onedl'
            )
            command = f"pip install -c constraints.txt -e '.[{extra}]' in its folder"
            raise ImportError(f'viewplug needs {module} ({error}): {command}{official}') from None
