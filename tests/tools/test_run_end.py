"""What ended a run is in its work dir: the log file and run.json."""

import json
import logging
import os
import re
import time
from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from train_runs import demo

from viewplug.hooks.preemption import Preempted
from viewplug.run.launch import UserError, train
from viewplug.run.run_end import note_end
from viewplug.visualization.run_files import read_run

ENDS = [
    (
        RuntimeError('out of memory'),
        'failed',
        'RuntimeError: out of memory',
        'RuntimeError: out of memory\nTraceback (most',
    ),
    (UserError('training diverged'), 'failed', 'training diverged', 'training diverged'),
    (KeyboardInterrupt(), 'interrupted', None, 'interrupted'),
    (Preempted(143), 'preempted', None, None),
    (SystemExit(0), 'stopped', None, None),
]


class End(Hook):
    def __init__(self, number):
        self.number = number

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 1:
            raise ENDS[self.number][0]


@pytest.mark.parametrize('number', range(len(ENDS)), ids=lambda number: type(ENDS[number][0]).__name__)
def test_what_ended_a_run_is_in_its_log_and_its_record(number, tmp_path, capsys):
    error, status, said, logged = ENDS[number]
    hooks = [dict(type='viewplug.RunRecordHook'), dict(type=End, number=number)]
    # Runs of one process that begin in the same second would have one visualizer, which writes into the first's folder.
    args = demo('configs/mocov2_r50.py', tmp_path, {'default_hooks.logger.interval': 1, 'experiment_name': str(number)})
    args.cfg_options = {key: one for key, one in args.cfg_options.items() if not key.startswith('custom_hooks')}
    args.cfg_options['custom_hooks'] = hooks
    with pytest.raises(type(error)):
        train(args)
    record = json.loads((tmp_path / 'work/run.json').read_text())
    assert record['status'] == status and record.get('error') == said
    text = next(tmp_path.glob('work/*/*.log')).read_text()
    assert text.count(' - ERROR - ') == (logged is not None) and (logged or '') in text
    assert logged is None or f'{__file__} - after_train_iter - ' in text
    assert ('Traceback' in text) == (said is not None and not isinstance(error, UserError))
    assert 'Traceback' not in ''.join(capsys.readouterr())  # Python or train.py shows it, and once is enough
    run = read_run(tmp_path / 'work')
    assert run.status.endswith('iteration 1 of 3')
    assert (logged is not None) == any(str(logged) in problem for problem, _ in run.problems)


@pytest.mark.parametrize('mistake', [{'model.backbone.dept': 18}, {'train_dataloader.batch_size': 100}], ids=str)
def test_a_start_that_fails_before_training_is_not_taken_for_the_run_before_it(mistake, tmp_path):
    hooks = {'custom_hooks': [dict(type='viewplug.RunRecordHook')], 'experiment_name': f'first {mistake}'}
    args = demo('configs/mocov2_r50.py', tmp_path)
    args.cfg_options = {key: one for key, one in args.cfg_options.items() if not key.startswith('custom_hooks')} | hooks
    train(args)
    (first,) = tmp_path.glob('work/*/*.log')
    args.cfg_options = {**args.cfg_options, **mistake, 'experiment_name': f'second {mistake}'}
    while time.strftime('%Y%m%d_%H%M%S') == first.stem:
        time.sleep(0.1)
    with pytest.raises(UserError) as told:
        train(args)
    run = read_run(tmp_path / 'work')
    assert run.record['status'] == 'finished' and run.record['session'] == first.stem
    assert re.fullmatch(r'finished; begun since, without a training step: \d+_\d+', run.status)
    assert any(str(told.value) in text for text, _ in run.problems)
    assert run.config['train_dataloader']['batch_size'] == 8


def test_a_start_without_a_runner_writes_into_no_other_runs_log(tmp_path, monkeypatch):
    file = tmp_path / 'work/stage1/20260101_000000/20260101_000000.log'
    file.parent.mkdir(parents=True)
    logger = logging.Logger('stage 1')
    logger.addHandler(logging.FileHandler(file))
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logger)
    note_end(None, UserError('of stage 2'), str(tmp_path / 'work'))
    assert file.read_text() == ''
    note_end(None, UserError('of stage 1'), os.path.relpath(tmp_path / 'work/stage1'))
    assert file.read_text() == 'of stage 1\n'


def test_a_log_on_a_full_disk_does_not_hide_the_error(tmp_path, capsys):
    if not Path('/dev/full').exists():
        pytest.skip('needs /dev/full')
    logger = logging.Logger('full')
    logger.addHandler(logging.FileHandler('/dev/full'))
    note_end(Namespace(hooks=[], logger=logger), UserError('training diverged'), 'work')
    assert not ''.join(capsys.readouterr())


def test_an_interrupt_that_a_library_calls_something_else_is_one(tmp_path):
    class Calls(Hook):
        def before_train(self, runner):
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as error:
                raise RuntimeError('DataLoader worker exited') from error

    args = demo('configs/mocov2_r50.py', tmp_path)
    args.cfg_options = {key: one for key, one in args.cfg_options.items() if not key.startswith('custom_hooks')}
    args.cfg_options['custom_hooks'] = [dict(type='viewplug.RunRecordHook', priority='VERY_HIGH'), dict(type=Calls)]
    with pytest.raises(UserError):
        train(args)
    assert json.loads((tmp_path / 'work/run.json').read_text())['status'] == 'interrupted'
