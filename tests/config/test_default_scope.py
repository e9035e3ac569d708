"""The scope of a config."""

import re
import sys

import pytest
from mmengine import Config
from mmengine.registry import HOOKS, MODELS, Registry

from viewplug.config.default_scope import check_default_scope


@pytest.mark.parametrize(
    ('scope', 'meant'), [('mmpretrian', 'mmpretrain'), ('viewplugg', 'viewplug'), ('.mmdet', 'mmdet')]
)
def test_a_misspelt_scope_is_named(scope, meant):
    with pytest.raises(
        ValueError, match=rf"^default_scope='{re.escape(scope)}': no registry has this scope, did you mean {meant}"
    ):
        check_default_scope(Config(dict(default_scope=scope)))


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'viewplug', 'mmengine', 'my_own', None, 'a b'])
def test_known_scopes_and_those_like_none_are_taken(scope):
    check_default_scope(Config(dict(default_scope=scope)))


def test_a_scope_of_somebodys_own_may_be_much_like_a_known_one(tmp_path, monkeypatch):
    for root in (MODELS, HOOKS):
        monkeypatch.setattr(root, '_children', dict(root.children))
    Registry('model', scope='viewplugs', parent=MODELS)
    check_default_scope(Config(dict(default_scope='viewplugs')))
    (tmp_path / 'mmdetz').mkdir()
    text = "from mmengine.registry import HOOKS, Registry\nRegistry('hook', scope='mmdetz', parent=HOOKS)\n"
    (tmp_path / 'mmdetz/registry.py').write_text(text)
    with pytest.raises(ValueError, match='did you mean'):
        check_default_scope(Config(dict(default_scope='mmdetz')))
    monkeypatch.syspath_prepend(tmp_path)
    check_default_scope(Config(dict(default_scope='mmdetz')))
    sys.modules.pop('mmdetz.registry')
