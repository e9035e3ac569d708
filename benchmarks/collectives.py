"""How many bytes a step moves between processes, counted and by formula, and what single items cost.

    python -m benchmarks.collectives [--worlds 1 2 4 8 --rounds 5 --traffic-only --out benchmarks/results/collectives]

Traffic: training steps at toy size in gloo processes. Every collective of torch.distributed is counted where it is
called and put down to the function of viewplug that asked for it. Bytes are those that a rank receives (and sends, the
patterns being symmetric) when the collective is done by the ring algorithm: (W - 1) S for a gather of S bytes a rank,
2 (W - 1) / W S for an all-reduce of S bytes, (W - 1) / W S on average for a broadcast or an all-to-all. As a check that
does not know the code, the bytes that crossed the machine's loopback device meanwhile are printed too, over the number
of ranks; other programs that talk over loopback add to them.

Items: see ``benchmarks/item_costs.py``; ``--traffic-only`` keeps those that the results hold.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import MMLogger
from torch import distributed, multiprocessing

from benchmarks import collective_cases as cases
from benchmarks.item_costs import item_costs, table_of_items
from benchmarks.record import write
from benchmarks.traffic_counter import DDP, Counter, loopback

ROOT = Path(__file__).resolve().parents[1]


def count_on_a_rank(rounds: int) -> list[dict]:
    """A row for each case and asker, of rank 0."""
    steps = {method: cases.training_step(method) for method in cases.MODELS}
    w, rows = get_world_size(), []
    expected = cases.formulas(w, {method: step.gradients for method, step in steps.items()})
    for case, function in dict(steps, **cases.OTHERS).items():
        repeats = rounds if case in cases.MODELS or case in ('cpc', 'maps') else 1
        for _ in range(2 if case in cases.MODELS else 0):
            function()  # DDP's buckets are ordered anew after the first backward
        _meet()
        before = loopback()
        with Counter() as counter:
            for _ in range(repeats):
                function()
        _meet()
        wire = (loopback() - before) / w / repeats
        found = {asker: moved / repeats for asker, moved in counter.bytes.items()}
        if case not in cases.MODELS:
            found.pop(DDP, None)  # the Runner shares the first weights
        for asker in sorted({*found, *(name for name, value in expected[case].items() if value)}):
            pair = dict(counted=found.get(asker, 0), formula=expected[case].get(asker, 0))
            rows.append(dict(world=w, case=case, part=asker, **pair))
        if w > 1 and case in cases.MODELS:
            total = sum(expected[case].values())
            rows.append(dict(world=w, case=case, part='all, on loopback', counted=wire, formula=total))
    return rows


def _meet() -> None:
    if get_world_size() > 1:
        distributed.barrier()
        time.sleep(0.05)  # packets of the barrier itself are still under way when it returns
        distributed.barrier()


def _rank(rank: int, world: int, folder: str, rounds: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    MMLogger.get_instance('collectives', log_level='ERROR')
    if world > 1:
        distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=world)
    rows = count_on_a_rank(rounds)
    if get_rank() == 0:
        Path(folder, 'rows.json').write_text(json.dumps(rows))
    if world > 1:
        distributed.destroy_process_group()


def count(world: int, rounds: int) -> list[dict]:
    """Rows of ``world`` processes."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(_rank, (world, folder, rounds), nprocs=world, start_method='fork')
        return json.loads(Path(folder, 'rows.json').read_text())


def size_text(number: float) -> str:
    return f'{number:,.0f}'


def table(rows: list[dict]) -> str:
    lines = ['| case | part | W | bytes a rank receives | formula | ratio |', '|---|---|---|---|---|---|']
    for row in rows:
        ratio = f'{row["counted"] / row["formula"]:.3f}' if row['formula'] else '-'
        lines.append(
            f'| {row["case"]} | `{row["part"]}` | {row["world"]} | {size_text(row["counted"])} | '
            f'{size_text(row["formula"])} | {ratio} |'
        )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[1, 2, 4, 8])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--traffic-only', action='store_true', help='keep the items that the results hold')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/collectives')
    args = parser.parse_args()
    torch.set_num_threads(1)
    costs = json.loads(args.out.with_suffix('.json').read_text())['items'] if args.traffic_only else item_costs()
    rows = [row for world in args.worlds for row in count(world, args.rounds)]
    setting = dict(cases.SETTING, rounds=args.rounds, torch=torch.__version__, threads=1)
    text = f'{table(rows)}\n\n{table_of_items(costs)}'
    write(args.out, dict(setting=setting, traffic=rows, items=costs), text)
    print(text)
    wrong = [row for row in rows if 'loopback' not in row['part'] and abs(row['counted'] - row['formula']) > 1e-6]
    if wrong:
        raise SystemExit(f'{len(wrong)} counts are not what the formula says: {wrong}')


if __name__ == '__main__':
    main()
