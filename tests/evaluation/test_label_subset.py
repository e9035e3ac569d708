"""Parts of the labels: balanced, nested, repeatable, stored."""

import numpy as np
import pytest

from viewplug.evaluation.label_subset import balanced_subset, stored_subset

LABELS = np.random.RandomState(0).randint(0, 10, 2000).tolist()


@pytest.mark.parametrize('percent, each', [(0.1, 1), (1, 2), (5, 10), (10, 20), (50, 100)])
def test_each_class_gives_the_same_number(percent, each):
    chosen = balanced_subset(LABELS, percent)
    assert len(set(chosen)) == len(chosen) and chosen == sorted(chosen)
    assert np.bincount([LABELS[i] for i in chosen]).tolist() == [each] * 10


def test_a_class_with_too_few_images_gives_what_it_has_and_all_is_all():
    labels = [0] * 97 + [1] * 3
    assert np.bincount([labels[i] for i in balanced_subset(labels, 20)]).tolist() == [10, 3]
    assert balanced_subset(labels, 100) == list(range(100))


def test_parts_are_nested_repeatable_and_other_for_another_seed():
    parts = [set(balanced_subset(LABELS, percent, seed=3)) for percent in (1, 5, 10, 50, 100)]
    assert all(small < large for small, large in zip(parts, parts[1:], strict=False))
    assert balanced_subset(LABELS, 5, seed=3) == sorted(parts[1])
    assert len(parts[2] & set(balanced_subset(LABELS, 10, seed=4))) < 60  # 20 of 200 by chance
    assert balanced_subset([0, 1, 0, 1, 0, 1], 34, seed=0) == [3, 4]  # on every platform


def test_a_stored_part_is_read_and_not_drawn_again(tmp_path):
    file = tmp_path / 'subsets/seed0_1pct.txt'
    chosen = stored_subset(file, LABELS, 1)
    assert file.read_text().splitlines()[0] == f'{chosen[0]} {LABELS[chosen[0]]}'
    file.write_text(f'7 {LABELS[7]}\n1999 {LABELS[1999]}\n')
    assert stored_subset(file, LABELS, 1) == [7, 1999]


def test_a_file_of_another_data_set_and_other_percentages_are_refused(tmp_path):
    file = tmp_path / 'part.txt'
    for line in (f'3 {LABELS[3] + 1}', '2000 1'):
        file.write_text(line + '\n')
        with pytest.raises(ValueError, match='part.txt is of another data set.*remove it to draw anew'):
            stored_subset(file, LABELS, 1)
    for percent in (0, -1, 101):
        with pytest.raises(ValueError, match=f'percentages of the labels.*got {percent}'):
            balanced_subset(LABELS, percent)
    with pytest.raises(ValueError, match='no labels'):
        balanced_subset([], 5)
