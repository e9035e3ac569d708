"""Tensors that say ``cuda:0``, compute on the CPU, and tell who mixes devices and who waits for one."""

from __future__ import annotations

import traceback

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
CPU, GPU = torch.device('cpu'), torch.device('cuda', 0)
# The CPU as only our own copies name it: autograd asks for CPU too, where it means the device that a tensor was on.
HOST = torch.device('cpu', 0)
COPIES = {aten._to_copy.default, aten.copy_.default}
# Indices may be on the CPU.
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
# Beside those that work element by element, these take numbers that are on the CPU.
TAKE_NUMBERS = ('_foreach', '_fused', '_amp', 'index_put', 'masked_fill', 'fill_')
# They give a number to Python, or a size that depends on values.
ASK_FOR_VALUES = {
    aten._local_scalar_dense.default,
    aten.bincount.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.multinomial.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
    aten._unique2.default,
}


class GpuTensor(Tensor):
    """A tensor on the GPU, for Python at least; ``there`` holds its values."""

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @staticmethod
    def __new__(cls, there: Tensor) -> GpuTensor:
        return Tensor._make_wrapper_subclass(
            cls,
            there.size(),
            strides=there.stride(),
            storage_offset=there.storage_offset(),
            dtype=there.dtype,
            layout=there.layout,
            device=there.device,
        )

    def __init__(self, there: Tensor) -> None:
        self.there = there

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        return run(op, args, kwargs or {}, PretendGpu())

    def __repr__(self) -> str:
        return f'GpuTensor({self.there})'

    def __deepcopy__(self, memo: dict) -> Tensor:
        copy = self.detach().clone()
        copy = nn.Parameter(copy, self.requires_grad) if isinstance(self, nn.Parameter) else copy
        return memo.setdefault(id(self), copy)

    def to(self, *args, **kwargs) -> Tensor:
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        copy = kwargs.pop('copy', False)
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type == 'cpu':
            return aten._to_copy(self, device=HOST, dtype=dtype or self.dtype, non_blocking=non_blocking)
        return Tensor.to(self, dtype=dtype or self.dtype, copy=copy, memory_format=layout or torch.preserve_format)

    def cpu(self, memory_format=torch.preserve_format) -> Tensor:
        return self.to(CPU)

    def cuda(self, *args, **kwargs) -> Tensor:
        return self

    def new_tensor(self, data, dtype: torch.dtype | None = None, **kwargs) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=GPU)

    def get_device(self) -> int:
        return 0

    def data_ptr(self) -> int:
        return self.there.data_ptr()

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_, **__):
        return self.numpy()

    def pin_memory(self, device=None):
        raise RuntimeError('only CPU tensors can be pinned')


class PretendGpu(TorchDispatchMode):
    """While it is entered, ``cuda`` is a device.

    Attributes:
        waits: a line of code for every time that the host waited for the device.
        operators: what has run on GPU tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.operators: set = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        return run(op, args, kwargs or {}, self)


def run(op, args: tuple, kwargs: dict, gpu: PretendGpu):
    """The operator on what the GPU tensors hold; the result is on the GPU if they are or ``device`` says so.

    Raises:
        RuntimeError: GPU tensors and CPU tensors of one or more dimensions together.
    """
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    from_gpu, target = any(isinstance(value, GpuTensor) for value in tensors), kwargs.get('device')
    to_gpu = target is not None and torch.device(target).type == 'cuda'
    strangers = [] if op in COPIES else [tuple(value.shape) for value in tensors if is_stranger(value, op, args)]
    if from_gpu and strangers:
        raise RuntimeError(f'{op}: expected all tensors to be on cuda:0, these are on the CPU: {strangers}')
    if (from_gpu or to_gpu) and waits_for_device(op, args, kwargs):
        gpu.waits.append(innermost_line())
    if from_gpu:
        gpu.operators.add(op)
    args_there, kwargs_there = tree_map(there, (args, kwargs))
    if to_gpu:
        kwargs_there['device'] = CPU
    result = op(*args_there, **kwargs_there)
    if op is aten.copy_.default:
        return args[0]
    if target == HOST or not (from_gpu or to_gpu):
        return result
    result = tree_map(lambda value: GpuTensor(value) if isinstance(value, Tensor) else value, result)
    return return_and_correct_aliasing(op, args, kwargs, result) if from_gpu else result


def there(value):
    return value.there if isinstance(value, GpuTensor) else value


def is_stranger(value: Tensor, op, args: tuple) -> bool:
    """Whether ``op`` would refuse it among GPU tensors: it is on the CPU, and no number or index."""
    if isinstance(value, GpuTensor):
        return False
    if value.ndim == 0:
        name = op.name().removeprefix('aten::')
        return not (torch.Tag.pointwise in op.tags or name.startswith(TAKE_NUMBERS))
    return not (op in INDEXED and any(value is index for index in args[1]))


def waits_for_device(op, args: tuple, kwargs: dict) -> bool:
    """Whether CUDA's operator returns only when the device has come as far."""
    if op is aten._to_copy.default:
        target = kwargs.get('device')
        if isinstance(args[0], GpuTensor):
            return target == HOST and not kwargs.get('non_blocking')
        return target is not None and target.type == 'cuda' and blocks(args[0], kwargs.get('non_blocking'))
    if op is aten.copy_.default:
        to, source, *non_blocking = args
        if isinstance(to, GpuTensor) == isinstance(source, GpuTensor):
            return False
        return blocks(source, any(non_blocking)) if isinstance(to, GpuTensor) else not any(non_blocking)
    if op in INDEXED:
        indices = [index for index in args[1] if index is not None]
        on_cpu = any(not isinstance(index, GpuTensor) for index in indices)
        return on_cpu or any(index.dtype in (torch.bool, torch.uint8) for index in indices)
    return op in ASK_FOR_VALUES


def blocks(source: Tensor, non_blocking: bool) -> bool:
    """Memory that is not pinned is copied in turn with what the device does."""
    return not (non_blocking and getattr(source, 'pinned', False))


def pin_memory(self: Tensor, device=None) -> Tensor:
    """As torch does it: into memory of the same strides, which elements must not share."""
    pinned = torch.empty_strided(self.size(), self.stride(), dtype=self.dtype).copy_(self)
    pinned.pinned = True
    return pinned


def innermost_line() -> str:
    """The innermost line outside torch and this file."""
    frames = [frame for frame in traceback.extract_stack() if '/torch/' not in frame.filename]
    frame = [frame for frame in frames if frame.filename != __file__][-1]
    return f'{frame.filename}:{frame.lineno} {frame.line}'
