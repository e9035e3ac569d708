"""What ended a run is in its work dir: the log file and run.json."""

import json

import pytest
from mmengine.hooks import Hook
from train_runs import demo

from viewplug.hooks.preemption import Preempted
from viewplug.launch import UserError, train
from viewplug.visualization.run_files import read_run

ENDS = [
    (RuntimeError('CUDA out of memory'), 'failed', 'RuntimeError: CUDA out of memory', 'Traceback (most recent call'),
    (UserError('training diverged'), 'failed', 'training diverged', 'training diverged'),
    (KeyboardInterrupt(), 'interrupted', None, 'interrupted'),
    (Preempted(143), 'preempted', None, None),
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
    args = demo('configs/mocov2_r50.py', tmp_path, {'default_hooks.logger.interval': 1})
    args.cfg_options = {key: one for key, one in args.cfg_options.items() if not key.startswith('custom_hooks')}
    args.cfg_options['custom_hooks'] = hooks
    with pytest.raises(type(error)):
        train(args)
    record = json.loads((tmp_path / 'work/run.json').read_text())
    assert record['status'] == status and record.get('error') == said
    text = next(tmp_path.glob('work/*/*.log')).read_text()
    assert text.count(' - ERROR - ') == (logged is not None) and (logged or '') in text
    assert ('Traceback' in text) == (said is not None and not isinstance(error, UserError))
    assert 'Traceback' not in ''.join(capsys.readouterr())  # Python or train.py shows it, and once is enough
    run = read_run(tmp_path / 'work')
    assert run.status.endswith('iteration 1 of 3')
    assert (logged is not None) == any(str(logged) in problem for problem, _ in run.problems)
