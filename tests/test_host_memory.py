"""Page faults of a process that allocates the same large tensors again and again, with and without the setting."""

import os
import subprocess
import sys

import pytest

PAGE = os.sysconf('SC_PAGE_SIZE') if hasattr(os, 'sysconf') else 4096
MIB, WARM_UP, ROUNDS = 64, 20, 10
SCRIPT = f"""
import resource, sys, torch
from viewplug.host_memory import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == 'keep' else None)
def step():
    for _ in range(2):
        torch.ones({MIB} << 18)
for _ in range({WARM_UP}):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
linux = pytest.mark.skipif(sys.platform != 'linux', reason="glibc's malloc")


def faults(mode: str, **environment: str) -> tuple[str, int]:
    """What the function returned, and page faults over ROUNDS rounds."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(('MALLOC_', 'GLIBC_'))}
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, mode], env=clean | environment, capture_output=True, text=True, check=True
    )
    answer, number = done.stdout.split()[-2:]
    return answer, int(number)


@linux
def test_large_tensors_fault_in_once():
    _, plain = faults('plain')
    answer, kept = faults('keep')
    assert answer == 'True'
    assert plain > ROUNDS * (MIB << 20) / PAGE / 600, 'nothing to keep here: huge pages at the least would fault'
    assert kept < plain / 10


@linux
@pytest.mark.parametrize(
    'environment', [dict(MALLOC_TRIM_THRESHOLD_='131072'), dict(GLIBC_TUNABLES='glibc.malloc.mmap_max=65536')]
)
def test_environment_has_the_last_word(environment):
    answer, number = faults('keep', **environment)
    assert answer == 'False'
    assert number > ROUNDS * (MIB << 20) / PAGE / 600


@pytest.mark.parametrize('platform', ['darwin', 'win32'])
def test_other_systems_are_left_alone(platform, monkeypatch):
    from viewplug import host_memory

    monkeypatch.setattr(sys, 'platform', platform)
    monkeypatch.setattr(host_memory.ctypes, 'CDLL', lambda *args: pytest.fail('asked for a C library'))
    assert not host_memory.keep_freed_memory()
