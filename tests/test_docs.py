"""README and docs/: what they link to, name and call exists."""

import importlib
import re
from functools import cache
from pathlib import Path

import pytest
from mmengine.registry import Registry

from viewplug import registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
OURS = r'(?:configs|tools|docs|tests|benchmarks|viewplug)'
PLACEHOLDERS = {'viewplug.X'}  # of the page on names
WITHOUT_SUFFIX = {'benchmarks/results/pretext_knn_16', 'benchmarks/results/pretext_knn_seeds'}  # --out's

every_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)


@every_page
def test_links_lead_to_files_and_headings(page):
    links = re.findall(r'\]\(([^)\s]+)\)', page.read_text())
    for file, _, heading in (link.partition('#') for link in links if '://' not in link):
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), file
        assert not heading or heading in headings(target), f'{file}#{heading}'


@every_page
def test_names_and_files_exist(page):
    text = page.read_text()
    for name in set(re.findall(r'viewplug(?:\.[A-Za-z_]\w*)+', text)) - PLACEHOLDERS:
        assert exists(name), name
    for path in re.findall(rf'(?<![\w./]){OURS}/[\w./{{}},*-]+', text):
        for one in alternatives(path.rstrip('.,/')):
            assert one in WITHOUT_SUFFIX or list(ROOT.glob(one)), one


def test_commands_take_the_options_that_they_are_given():
    found = [call for page in PAGES for command in commands(page.read_text()) for call in calls(command)]
    assert len(found) > 100
    for script, option in found:
        assert f"'{option}'" in script.read_text(), (script.name, option)


def test_make_has_the_targets_that_pages_name():
    targets = set(re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.M))
    named = {name for page in PAGES for name in re.findall(r'(?:`|^)make ([a-z-]+)', page.read_text(), re.M)}
    assert named <= targets and 'demo' in named


def commands(text: str) -> list[str]:
    """Lines of bash blocks, continued ones joined, and code spans, each without its comment."""
    blocks = re.findall(r'```bash\n(.*?)```', text, re.S)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    spans = [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', re.sub(r'```.*?```', '', text, flags=re.S))]
    return [line.split(' #')[0] for line in (*lines, *spans)]


def calls(command: str) -> list[tuple[Path, str]]:
    """The file of ours that a command runs, with each option that it is given."""
    ours = re.search(r'(?:^|[\s/])((?:tools|benchmarks)/\w+\.(?:py|sh))|-m (benchmarks(?:\.\w+)?)\b', command)
    if not ours:
        return []
    module = ours[2] and (ours[2] if '.' in ours[2] else 'benchmarks.__main__').replace('.', '/') + '.py'
    script = ROOT / (module or (ours[1] if ours[1].endswith('.py') else 'tools/train.py'))  # what a .sh hands on to
    return [(script, option) for option in re.findall(r'(?<=\s)--[a-z][a-z-]*', command[ours.end() :])]


def alternatives(path: str) -> list[str]:
    braces = re.search(r'\{([^{}]*)\}', path)
    if not braces:
        return [path]
    ways = braces[1].split(',')
    return [one for way in ways for one in alternatives(path[: braces.start()] + way + path[braces.end() :])]


@cache
def headings(page: Path) -> set[str]:
    """As GitHub writes their anchors."""
    lines = re.findall(r'^#+ (.*)$', re.sub(r'```.*?```', '', page.read_text(), flags=re.S), re.M)
    return {re.sub(r'[^\w\- ]', '', line.strip().lower()).replace(' ', '-') for line in lines}


@cache
def exists(name: str) -> bool:
    """A registered name, or a module, or what a module has."""
    roots = (value for value in vars(registry).values() if isinstance(value, Registry))
    if name.count('.') == 1 and any(root.get(name) for root in roots):
        return True
    words, found = name.split('.'), None
    for length in range(len(words), 0, -1):
        try:
            found = importlib.import_module('.'.join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            found = getattr(found, word, None)
        return found is not None
    return False
