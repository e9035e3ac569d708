"""What is read from a work dir, whole or cut off anywhere."""

import json
import time

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from PIL import Image
from toy_runs import PIPELINE, toy_runner

from viewplug.visualization.run_files import read_run

LOG = """2026/01/02 03:04:05 - mmengine - INFO -
------------------------------------------------------------
System environment:
    sys.platform: linux
    Python: 3.11.7 (main)
    PyTorch: 2.11.0
    PyTorch compiling details: PyTorch built with:
  - GCC 13.3
    TorchVision: 0.26.0

Runtime environment:
    seed: 0
    GPU number: 2
------------------------------------------------------------

2026/01/02 03:04:06 - mmengine - WARNING - the loss
is strange: 3
2026/01/02 03:04:07 - mmengine - INFO - seed: 7
2026/01/02 03:04:08 - mmengine - WARNING - twice
2026/01/02 03:04:09 - mmengine - WARNING - twice
2026/01/02 03:04:10 - mmengine - ERROR - it broke"""
CONFIG = (
    "train_cfg = dict(max_epochs=4)\ntrain_dataloader = dict(batch_size=8)\ncustom_imports = dict(imports=['gone'])\n"
)


def train_line(step, **values):
    return dict(lr=0.1, loss=5 - 0.1 * step, time=0.5, epoch=1 + step // 10, iter=step, step=step, **values)


def session(work_dir, name, lines, log=LOG, config=CONFIG):
    folder = work_dir / name
    (folder / 'vis_data').mkdir(parents=True)
    (folder / f'{name}.log').write_text(log)
    text = ''.join(line if isinstance(line, str) else json.dumps(line) + '\n' for line in lines)
    (folder / 'vis_data/scalars.json').write_text(text)
    (folder / 'vis_data/config.py').write_text(config)
    return folder


def test_a_real_run_is_read_whole(tmp_path):
    hooks = [dict(type=f'viewplug.{name}') for name in ('RunRecordHook', 'RepresentationHealthHook', 'ViewGalleryHook')]
    scenes = dict(type='viewplug.ShapeScenes', num_images=16, image_size=40, pipeline=PIPELINE)
    cfg = dict(train_cfg=dict(max_epochs=2), model=dict(type='viewplug.Siamese'))  # a Runner writes down its cfg
    toy_runner(tmp_path / 'toy', hooks, dataset=scenes, cfg=cfg).train()
    run = read_run(tmp_path / 'toy')
    assert run.name == 'toy' and run.status == 'finished'
    assert all('deprecated' in text for text, _ in run.problems)
    steps = {key: [step for step, _ in curve] for key, curve in run.curves.items()}
    assert steps['loss'] == steps['lr'] == steps['image.loss'] == [1, 2, 3, 4]
    assert steps['health/image/similarity'] == steps['run/peak_memory'] == [2, 4]
    assert {value for _, value in run.curves['run/target_momentum']} == {0.9}
    assert run.record['images_per_step'] == 8 and run.record['iterations'] == 4 and run.record['seconds'] > 0
    assert run.max_epochs == 2 and run.config['model']['type'] == 'viewplug.Siamese'
    assert {name: len(files) for name, files in run.pictures.items()} == {'vis_views': 1, 'vis_crops': 1}
    assert dict(run.environment)['seed'] == '5' and 'PyTorch' in dict(run.environment)


def test_warnings_are_counted_with_all_their_lines_and_the_environment_is_listed(tmp_path):
    session(tmp_path, '20260101', [train_line(5)])
    run = read_run(tmp_path)
    assert run.problems == [('the loss\nis strange: 3', 1), ('twice', 2), ('it broke', 1)]
    keys = ['sys.platform', 'Python', 'PyTorch', 'TorchVision', 'seed', 'GPU number']
    assert [key for key, _ in run.environment] == keys
    assert run.images_per_step == 16
    assert run.curves['loss'] == [(5, 4.5)]


def test_a_run_that_crashed_half_way_says_how_far_it_came_and_what_is_broken(tmp_path):
    folder = session(tmp_path, '20260101', [train_line(5), train_line(12, grad=float('nan')), '{"lr": 0.1, "lo'])
    (folder / 'vis_data/config.py').write_text(CONFIG + 'model = dict(')
    (tmp_path / 'run.json').write_text('{"status": "runn')
    (tmp_path / 'vis_views').mkdir()
    (tmp_path / 'vis_views/epoch_0.png').write_bytes(b'\x89PNG')
    run = read_run(tmp_path)
    assert run.status == 'not finished: running or stopped in epoch 2, iteration 12'
    assert [step for step, _ in run.curves['loss']] == [5, 12] and run.curves['grad'] == []
    said = ' | '.join(text for text, _ in run.problems)
    assert '1 line(s) of 20260101/vis_data/scalars.json are cut off' in said
    assert '1 values of grad are not finite' in said
    assert 'config.py cannot be read: ' in said and 'run.json is cut off' in said
    assert 'max_epochs=4' in run.config_text


def test_a_run_that_stopped_before_its_first_step_or_wrote_only_a_log_is_read(tmp_path):
    session(tmp_path, '20260101', [])
    (tmp_path / '20260101/vis_data/scalars.json').unlink()
    run = read_run(tmp_path)
    assert run.status == 'not finished: no training step in its logs' and run.curves == {}


def test_a_resumed_run_continues_its_curves_and_replaces_what_it_repeats(tmp_path):
    session(tmp_path, '20260101', [train_line(step) for step in (5, 10, 15)] + [{'knn/top1': 20.0, 'step': 0}])
    session(tmp_path, '20260102', [train_line(11, loss2=1.0), train_line(16), {'knn/top1': 30.0, 'step': 2}])
    run = read_run(tmp_path)
    assert [step for step, _ in run.curves['loss']] == [5, 10, 11, 16]
    assert run.curves['knn/top1'] == [(0, 20), (2, 30)]


def test_without_a_record_the_last_checkpoint_says_that_a_run_finished(tmp_path):
    session(tmp_path, '20260101', [train_line(39)])
    assert read_run(tmp_path).status == 'not finished: running or stopped in epoch 4 of 4, iteration 39'
    (tmp_path / 'epoch_4.pth').touch()
    assert read_run(tmp_path).status == 'finished'
    (tmp_path / 'run.json').write_text(json.dumps(dict(status='running', iterations=80)))
    assert read_run(tmp_path).status.endswith('epoch 4 of 4, iteration 39 of 80')


@pytest.mark.parametrize(
    ('status', 'said'),
    [('failed', 'stopped by an error'), ('interrupted', 'interrupted'), ('preempted', 'preempted'), (None, 'running')],
)
def test_a_record_says_how_a_run_ended(status, said, tmp_path):
    session(tmp_path, '20260101', [train_line(39)])
    (tmp_path / 'run.json').write_text(json.dumps(dict(status=status)))
    assert read_run(tmp_path).status.startswith(f'not finished: {said}')


def test_a_start_that_never_trained_leaves_the_run_before_it_as_it_was_and_is_said(tmp_path):
    session(tmp_path, '20260101', [train_line(39)], log='')
    (tmp_path / 'run.json').write_text(json.dumps(dict(status='finished', session='20260101', iterations=39)))
    session(tmp_path, '20260102', [{'knn/top1': 20.0, 'step': 0}], config=CONFIG.replace('4', '9'))
    run = read_run(tmp_path)
    assert run.status == 'finished; begun since, without a training step: 20260102'
    assert run.max_epochs == 4 and ('it broke', 1) in run.problems
    session(tmp_path, '20260103', [train_line(5)], config=CONFIG.replace('4', '9'))  # of a config without the hook
    session(tmp_path, '20260104', [], config=CONFIG.replace('4', '7'))
    run, since = read_run(tmp_path), '; begun since, without a training step: 20260104'
    assert run.status == f'not finished: running or stopped in epoch 1 of 9, iteration 5{since}' and run.record == {}
    assert any('run.json is of 20260101' in text for text, _ in run.problems)


def test_a_start_that_never_trained_leaves_the_curves_of_the_run_before_it(tmp_path):
    knn = [{'knn/top1': value, 'step': step} for step, value in ((0, 20.0), (40, 48.0))]
    session(tmp_path, '20260101', [knn[0], train_line(39), knn[1]])
    (tmp_path / 'run.json').write_text(json.dumps(dict(status='finished', session='20260101', iterations=39)))
    session(tmp_path, '20260102', [{'knn/top1': 21.0, 'step': 0}])  # logged before RunRecordHook writes
    run = read_run(tmp_path)
    assert run.unbegun == ['20260102'] and run.curves['knn/top1'] == [(0, 20), (40, 48)]


@pytest.mark.parametrize('record', [dict(status='finished', session='20260101', iterations=39), None])
@pytest.mark.parametrize('loop', ['Epoch', 'Iter'])
def test_of_a_session_that_only_tested_nothing_is_said(loop, record, tmp_path):
    line = '2026/01/02 03:04:11 - mmengine - INFO - {}({}) [2/2]    accuracy: 12.5  time: 0.005\n'
    session(tmp_path, '20260101', [train_line(39)], log='')
    (tmp_path / 'epoch_4.pth').touch()
    if record:
        (tmp_path / 'run.json').write_text(json.dumps(record))
    tested = session(tmp_path, '20260102', [], f'{LOG}\n{line.format(loop, "test")}', CONFIG.replace('4', '9'))
    run = read_run(tmp_path)
    assert run.status == 'finished' and run.problems == [] and run.environment == [] and run.max_epochs == 4
    (tested / '20260102.log').write_text(line.format(loop, 'train') + line.format(loop, 'test'))
    assert read_run(tmp_path).max_epochs == 9  # trained, and tested after it


class Square(BaseModel):
    """One number that is to become zero; it predicts that number."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.number.square().sum()) if mode == 'loss' else [dict(number=self.number.item())] * 2


class Seen(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        self.results += data_samples

    def compute_metrics(self, results) -> dict:
        return dict(seen=len(results))


class Unreadable(list):
    def __getitem__(self, index: int):
        raise OSError('unreadable')


@pytest.mark.parametrize('recorded', [True, False])
def test_a_real_test_in_the_work_dir_of_a_training_is_no_start(recorded, tmp_path):
    def runner(tested=list, **changes):
        loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
        settings = dict(
            train_dataloader=dict(dataset=[dict(inputs=torch.ones(1))] * 4, **loader),
            test_dataloader=dict(dataset=tested([dict(inputs=torch.ones(1))] * 4), **loader),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            test_cfg=dict(),
            test_evaluator=Seen(),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[dict(type='viewplug.RunRecordHook')] * recorded,
            cfg=dict(train_cfg=dict(max_epochs=1)),  # a Runner writes down its cfg
        )
        time.sleep(1)  # a session is named by its second
        return Runner(Square(), str(tmp_path), **settings, experiment_name=str(time.monotonic()), **changes)

    runner().train()
    assert runner(load_from=str(tmp_path / 'epoch_1.pth')).test() == dict(seen=4)
    assert len([*tmp_path.glob('*/*.log')]) == 2 and read_run(tmp_path).status == 'finished'
    ended = runner(Unreadable, load_from=str(tmp_path / 'epoch_1.pth'))
    with pytest.raises(OSError, match='unreadable'):
        ended.test()  # before its first line: it could be a start of training as well
    assert read_run(tmp_path).status == f'finished; begun since, without a training step: {ended.timestamp}'


def test_an_error_of_another_process_than_that_of_the_log_is_a_problem(tmp_path):
    session(tmp_path, '20260101', [train_line(39)], log='')
    (tmp_path / 'run.json').write_text(json.dumps(dict(status='failed', process=3, error='out of memory')))
    assert read_run(tmp_path).problems == [('process 3: out of memory', 1)]
    (tmp_path / 'run.json').write_text(json.dumps(dict(status='failed', process=0, error='out of memory')))
    assert read_run(tmp_path).problems == []


def test_pictures_come_in_the_order_of_their_numbers_and_results_by_their_file(tmp_path):
    session(tmp_path, '20260101', [])
    for folder in ('vis_boxes', 'contrastive_test'):
        (tmp_path / folder).mkdir()
        for name in ('epoch_10', 'epoch_2'):
            Image.new('RGB', (4, 4)).save(tmp_path / folder / f'{name}.png')
    (tmp_path / 'linear_eval.json').write_text('{"top1": 50.0}')
    (tmp_path / 'contrastive_test/epoch_2.json').write_text('{"results": []}')
    run = read_run(tmp_path)
    assert [path.stem for path in run.pictures['vis_boxes']] == ['epoch_2', 'epoch_10']
    assert run.results == {'linear_eval.json': {'top1': 50}, 'contrastive_test/epoch_2.json': {'results': []}}


def test_a_folder_that_is_no_work_dir_is_named(tmp_path):
    with pytest.raises(ValueError, match='no work dir .*gone'):
        read_run(tmp_path / 'gone')
    with pytest.raises(ValueError, match='holds no log of a training run'):
        read_run(tmp_path)
