"""Settings of the log that mmengine looks at too late."""

import pytest
from mmengine import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import LogProcessor

from viewplug.config.log_settings import check_log_settings

MEAN = dict(data_src='loss', method_name='mean')


@pytest.mark.parametrize(
    ('entry', 'said'),
    [
        (dict(data_sr='loss', method_name='mean'), r'nothing reads data_sr, did you mean data_src\?'),
        (dict(data_src='loss', method_nam='mean'), r'nothing reads method_nam, did you mean method_name\?'),
        (dict(MEAN, window_siz=10), r'nothing reads window_siz, did you mean window_size\?'),
        (dict(MEAN, log_nam='smooth'), r'nothing reads log_nam, did you mean log_name\?'),
        (dict(MEAN, method_name='mea'), r"\.method_name='mea': it is one of .*max.*, did you mean mean"),
        (dict(MEAN, method_name=['mean']), r"\.method_name=\['mean'\]: it is one of"),
        (dict(data_src='loss', method_name='current', window_size=10), 'nothing reads window_size; it takes'),
        (dict(data_src='loss'), r"\{'data_src': 'loss'\} has no method_name"),
        (dict(MEAN, window_size='epochs'), r"\.window_size='epochs': give a number of values, 'epoch' or 'global'"),
        (dict(MEAN, window_size=0), r'\.window_size=0: give a number of values'),
        (dict(MEAN, window_size=-3), r'\.window_size=-3: give a number of values'),
        (dict(MEAN, window_size=True), r'\.window_size=True: give a number of values'),
        ('loss', "='loss': give a dict"),
    ],
    ids=str,
)
def test_an_entry_at_which_the_first_line_would_fail_is_named(entry, said):
    for kind in ({}, dict(type='LogProcessor')):
        with pytest.raises(ValueError, match=rf'^log_processor\.custom_cfg\.1(: )?{said}'):
            check_log_settings(Config(dict(log_processor=dict(kind, custom_cfg=[dict(MEAN, log_name='a'), entry]))))


def test_what_mmengine_takes_is_taken(monkeypatch):
    def weighted(self, weight, **others):
        return weight

    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', dict(HistoryBuffer()._statistics_methods))
    HistoryBuffer.register_statistics(weighted)
    entries = [dict(MEAN, window_size=size, log_name=f'mean_{size}') for size in (3, 'epoch', 'global', None)]
    entries += [dict(data_src='lr', method_name='current'), dict(data_src='a', method_name='weighted', weight=1, by=2)]
    processor = dict(custom_cfg=entries)
    LogProcessor(**processor)
    check_log_settings(Config(dict(log_processor=processor)))
    for other in (None, {}, dict(custom_cfg=None), dict(type='MyLogProcessor', custom_cfg=[dict(of='its own')])):
        check_log_settings(Config(dict(log_processor=other)))


@pytest.mark.parametrize(
    ('level', 'said'),
    [('INFOO', ', did you mean INFO'), ('info', ', did you mean INFO'), (None, '$'), (1.5, '$'), ({}, '$')],
)
def test_a_log_level_that_is_none_is_named(level, said):
    with pytest.raises(ValueError, match=rf'^log_level={level!r}: give a number, or one of DEBUG, .*CRITICAL{said}'):
        check_log_settings(Config(dict(log_level=level)))
    for good in ('WARNING', 'NOTSET', 10):
        check_log_settings(Config(dict(log_level=good)))


def test_custom_cfg_is_a_list():
    with pytest.raises(ValueError, match=r"^log_processor\.custom_cfg is a list of dicts, got \{'data_src': 'loss'"):
        check_log_settings(Config(dict(log_processor=dict(custom_cfg=MEAN))))


def test_so_is_a_window_of_the_log_without_a_value():
    with pytest.raises(ValueError, match=r'^log_processor\.window_size=0: give a number of values, from 1 on'):
        check_log_settings(Config(dict(log_processor=dict(window_size=0))))
