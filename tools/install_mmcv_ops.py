"""Replace an op-less mmcv by one with compiled operators (mmdet needs them, pre-training does not).

    python tools/install_mmcv_ops.py

Does nothing when ``mmcv._ext`` already imports. The built wheel is kept in
``$XDG_CACHE_HOME/viewplug/wheels`` (default ``~/.cache``), one folder per torch, Python, mmcv and
device kind, so that only the first virtual environment pays for the build (about nine minutes on two cores).
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

DISTRIBUTION = 'onedl-mmcv'


def main() -> int:
    if ops_import():
        print('mmcv operators: already importable, nothing to do')
        return 0
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        print(
            f'{DISTRIBUTION} is not installed here; install it first: pip install -c constraints.txt {DISTRIBUTION}',
            file=sys.stderr,
        )
        return 1
    cache = cache_folder(version)
    wheel = next(cache.glob('*.whl'), None)
    if wheel is None:
        wheel = build(version, cache)
    print(f'mmcv operators: installing {wheel}')
    pip('install', '--quiet', '--force-reinstall', '--no-deps', str(wheel))
    if not ops_import():
        print(
            f'mmcv._ext still does not import after installing {wheel}; delete that file and run this script again',
            file=sys.stderr,
        )
        return 1
    return 0


def ops_import() -> bool:
    """Whether a fresh interpreter can import mmcv's extension (torch first: it carries the shared libraries)."""
    code = 'import torch, mmcv._ext'
    return subprocess.run([sys.executable, '-c', code], capture_output=True).returncode == 0


def cache_folder(mmcv_version: str) -> Path:
    import torch

    root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    device = f'cu{torch.version.cuda}' if torch.cuda.is_available() else 'cpu'
    python = f'{sys.implementation.cache_tag}-{platform.machine()}'
    return root / 'viewplug' / 'wheels' / f'mmcv-{mmcv_version}_torch-{torch.__version__}_{python}_{device}'


def build(version: str, cache: Path) -> Path:
    """Compile the wheel and move it into the cache in one step, so that a killed build leaves nothing behind."""
    jobs = os.environ.get('MAX_JOBS') or str(len(os.sched_getaffinity(0)))
    flags = f'{os.environ.get("CFLAGS", "")} -g0'.strip()  # no debug symbols: half the compile time
    print(f'mmcv operators: building {DISTRIBUTION} {version} with {jobs} jobs (minutes; once per machine)', flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as tmp:
        pip(
            'wheel',
            '--no-build-isolation',
            '--no-deps',
            '--no-cache-dir',  # the cache may hold the op-less wheel of the same version
            '--no-binary',
            DISTRIBUTION,
            '--wheel-dir',
            tmp,
            f'{DISTRIBUTION}=={version}',
            env={**os.environ, 'CFLAGS': flags, 'MAX_JOBS': jobs, 'PATH': path_with_scripts()},
        )
        built = next(Path(tmp).glob('*.whl'))
        return Path(shutil.move(built, cache / built.name))


def path_with_scripts() -> str:
    """PATH with this interpreter's scripts first: torch's builder looks for ``ninja`` there."""
    return os.pathsep.join([sysconfig.get_path('scripts'), os.environ.get('PATH', '')])


def pip(*args: str, env: dict | None = None) -> None:
    subprocess.run([sys.executable, '-m', 'pip', *args], check=True, env=env)


if __name__ == '__main__':
    sys.exit(main())
