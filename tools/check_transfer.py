"""Would this config start from this checkpoint? Builds the model, loads as the run would, and compares all values.

python tools/check_transfer.py configs/transfer/voc_faster_rcnn_r50_c4_24k.py work_dirs/mocov2_r50/epoch_200.pth
python tools/check_transfer.py CONFIG CKPT --init     # as `tools/train.py CONFIG --init CKPT` would load it

CKPT stands in for every pre-trained file that the config names. No data are needed. Exit code 2 when something that
should have been loaded was not.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import run_tool


def parse_args(argv=None):
    from viewplug.config.option_values import OptionAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of mmdet, mmseg or mmpretrain, or one of configs/transfer')
    parser.add_argument('checkpoint', help='any file that viewplug.InitFromSSL reads')
    parser.add_argument('--init', action='store_true', help='load as `tools/train.py --init` does')
    parser.add_argument(
        '--required', nargs='+', metavar='MODULE', help='what must be loaded whole (default: the config, or backbone)'
    )
    parser.add_argument('--allow-surplus', action='store_true', help='the file may have more blocks than the model')
    parser.add_argument('--new', nargs='+', metavar='NAME', help='layers that the file need not have, such as norm0')
    parser.add_argument('--traceback', action='store_true', help='show the traceback of an error')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides')
    return parser.parse_args(argv)


def check(args) -> int:
    from mmengine import Config
    from mmengine.logging import MMLogger

    from viewplug.config.mistakes import sentence
    from viewplug.config.options import merge_options
    from viewplug.transfer import TransferCheckHook
    from viewplug.transfer.check import check_model, table
    from viewplug.transfer.check_hook import all_origins
    from viewplug.transfer.checkpoint import read_checkpoint
    from viewplug.transfer.start_from import set_checkpoint, start_from

    MMLogger.get_instance('check_transfer', log_level='ERROR')  # mmengine lists every parameter it initialises
    if not Path(args.config).is_file():
        raise ValueError(f'no config file {Path(args.config).absolute()}')
    read_checkpoint(args.checkpoint)  # before mmengine's own loader can
    try:
        cfg = Config.fromfile(args.config)
    except Exception as error:
        raise ValueError(f'{args.config} cannot be read: {type(error).__name__}: {error}') from error
    merge_options(cfg, args.cfg_options)
    (start_from if args.init else set_checkpoint)(cfg, args.checkpoint)
    load_from = args.checkpoint if cfg.get('load_from') == args.checkpoint else None  # else InitFromSSL's
    try:
        model, hooks = _loaded(cfg, load_from)
    except Exception as error:  # a config's mistakes are of any kind
        raise ValueError(sentence(error, cfg)) from error
    rules = next((hook for hook in hooks if isinstance(hook, TransferCheckHook)), TransferCheckHook())
    required, surplus = args.required or rules.required, args.allow_surplus or rules.allow_surplus
    origins = all_origins(model, hooks, load_from, required)
    reports = check_model(model, origins, required, surplus, args.new or rules.new)
    print(table(reports))
    return 2 if any(report.errors for report in reports) else 0


def _loaded(cfg, load_from):
    """The model as a run of ``cfg`` has it before its first step, and the hooks of ours that load and check."""
    from mmengine.registry import DefaultScope
    from mmengine.runner import load_state_dict

    from viewplug.config.model_config import model_config
    from viewplug.registry import HOOKS, MODELS
    from viewplug.transfer import InitFromSSL
    from viewplug.transfer.check import check_prefixes
    from viewplug.transfer.checkpoint import read_checkpoint, weights_of

    cfg.model = model_config(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        model = MODELS.build(cfg.model)
        check_prefixes(model)
        model.init_weights()
        names = ('InitFromSSL', 'TransferCheckHook')
        ours = [hook for hook in cfg.get('custom_hooks') or [] if str(hook.get('type')).rstrip("'>").endswith(names)]
        hooks = [HOOKS.build(hook) for hook in ours]
    if load_from:
        load_state_dict(model, weights_of(read_checkpoint(load_from)), logger='current')
    for hook in hooks:
        if isinstance(hook, InitFromSSL):
            hook.write(model)
    return model, hooks


def main(argv=None) -> int:
    return run_tool(check, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


if __name__ == '__main__':
    sys.exit(main())
