"""tools/train.py when a cluster takes its machine away."""

import os
import signal
import subprocess
import sys
import time

from train_runs import ROOT, TINY

from viewplug.hooks.preemption import EXIT_STATUS


def test_a_job_that_gets_sigterm_as_a_whole_ends_in_order_and_goes_on(tmp_path):
    """Loader workers get it too, as from Slurm, and live on until the process that they belong to is done."""
    knn = [f'custom_hooks.0.{loader}.dataset.num_images=24' for loader in ('train_dataloader', 'val_dataloader')]
    options = [f'{key}={value}' for key, value in TINY.items()] + knn
    options += ['train_dataloader.num_workers=2', 'train_dataloader.batch_size=2', 'default_hooks.logger.interval=1']
    command = [sys.executable, 'tools/train.py', 'configs/mocov2_r50.py', '--demo', '--epochs', '2']
    command += ['--work-dir', str(tmp_path), '--cfg-options', *options]
    job = subprocess.Popen(
        command,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    said = ''
    for line in job.stdout:
        said += line
        if 'Epoch(train) [1][ 4/12]' in line:
            os.killpg(job.pid, signal.SIGTERM)
            begin = time.monotonic()
    assert job.wait() == EXIT_STATUS, said
    assert time.monotonic() - begin < 20, 'workers were waited for'
    assert 'SIGTERM: stopped after iteration' in said and 'Traceback' not in said and 'is killed' not in said
    done = subprocess.run([*command, '--resume'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and '[1][12/12]' in done.stdout and '[1][ 1/12]' not in done.stdout
