import json

import pytest
from mmengine.hooks import Hook
from toy_runs import PIPELINE, toy_runner
from toys import ToyImages

from viewplug.hooks import RunRecordHook, run_record

HOOK = dict(type='viewplug.RunRecordHook', interval=1)


class Crash(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            raise KeyboardInterrupt


def record(work_dir):
    return json.loads((work_dir / 'run.json').read_text())


def scalars(work_dir):
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    return [line for line in map(json.loads, path.read_text().splitlines()) if 'run/peak_memory' in line]


def test_a_run_that_ends_says_finished_and_records_momentum_and_memory(tmp_path):
    toy_runner(tmp_path, [HOOK], dataset=ToyImages(pipeline=PIPELINE)).train()
    found = record(tmp_path)
    assert found['status'] == 'finished' and 0 < found['seconds'] < 600
    assert (found['iterations'], found['epochs'], found['images_per_step'], found['processes']) == (4, 2, 8, 1)
    lines = scalars(tmp_path)
    assert [line['step'] for line in lines] == [1, 2, 3, 4]
    assert all(line['run/target_momentum'] == 0.9 and 50 < line['run/peak_memory'] < 1e5 for line in lines)


def test_a_run_that_is_killed_goes_on_saying_running(tmp_path):
    runner = toy_runner(tmp_path, [dict(HOOK, interval=100), Crash()], dataset=ToyImages(pipeline=PIPELINE))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert record(tmp_path)['status'] == 'running' and 'seconds' not in record(tmp_path)
    assert [line['step'] for line in scalars(tmp_path)] == [2]  # the end of the first epoch


def test_each_process_can_tell_of_an_error_and_process_0_alone_of_the_rest(tmp_path, monkeypatch):
    runner = toy_runner(tmp_path, [dict(HOOK, interval=100)], dataset=ToyImages(pipeline=PIPELINE))
    hook = next(hook for hook in runner.hooks if isinstance(hook, RunRecordHook))
    hook.end('failed', 'before it began')
    assert not (tmp_path / 'run.json').exists()
    runner.train()
    monkeypatch.setattr(run_record, 'get_rank', lambda: 3)
    monkeypatch.setattr(run_record, 'is_main_process', lambda: False)
    hook.end('interrupted')
    assert record(tmp_path)['status'] == 'finished' and 'process' not in record(tmp_path)
    hook.end('failed', 'RuntimeError: out of memory')
    found = record(tmp_path)
    assert (found['status'], found['process'], found['error']) == ('failed', 3, 'RuntimeError: out of memory')
    monkeypatch.setattr(run_record, 'get_rank', lambda: 0)
    hook.end('failed', 'RuntimeError: connection closed by peer')  # of it
    assert record(tmp_path) == found and not list(tmp_path.glob('*.part'))


def test_an_interval_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match='interval must be a positive integer, got 0'):
        RunRecordHook(0)
