"""Precise RoI Pooling is mmcv's operator, whose CUDA kernel is compiled for the CPU here, an element at a time."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from test_prroi_pool import some_boxes

from viewplug.ops import PrRoIPool

KERNEL = 'ops/csrc/common/cuda/prroi_pool_cuda_kernel.cuh'
# What the kernel's file includes of CUDA; a thread is one round of its loop.
CUDA = """
#include <algorithm>
#include <cmath>
using std::abs; using std::max; using std::min;
#define __device__
#define __global__
#define __forceinline__ inline
static int thread;
#define CUDA_1D_KERNEL_LOOP(i, n) for (int i = thread; i == thread && i < n; ++i)
template <typename T> void atomicAdd(T* to, T value) { *to += value; }
"""
CALLS = """
#define SIZES int ph, int pw, float scale, int c, int h, int w
#define EACH(kernel, ...) for (thread = 0; thread < n; ++thread) kernel<float>(n, __VA_ARGS__, ph, pw, scale, c, h, w)
typedef const float* In;
extern "C" {
void forward(int n, In x, In rois, float* y, SIZES) { EACH(prroi_pool_forward_cuda_kernel, x, rois, y); }
void backward(int n, In dy, In rois, float* dx, SIZES) { EACH(prroi_pool_backward_cuda_kernel, dy, rois, dx); }
void coordinates(int n, In y, In dy, In x, In rois, float* drois, SIZES) {
  EACH(prroi_pool_coor_backward_cuda_kernel, y, dy, x, rois, drois);
}
}
"""


@pytest.fixture(scope='module')
def kernels(tmp_path_factory) -> ctypes.CDLL:
    kernel = Path(pytest.importorskip('mmcv').__file__).parent / KERNEL
    if not kernel.exists() or not shutil.which('g++'):
        pytest.skip("needs g++ and the sources of mmcv's operators")
    folder = tmp_path_factory.mktemp('kernels')
    (folder / 'pytorch_cuda_helper.hpp').write_text(CUDA)
    (folder / 'kernels.cpp').write_text(f'#include "{kernel}"\n{CALLS}')
    compiler = ['g++', '-O1', '-shared', '-fPIC', f'-I{folder}', '-o', folder / 'kernels.so', folder / 'kernels.cpp']
    subprocess.run(compiler, check=True)
    return ctypes.CDLL(str(folder / 'kernels.so'))


def theirs(kernels, features, rows, size, scale):
    """Pooled, and the gradients of the sum of its squares in features and rows."""
    sizes = [size, size, ctypes.c_float(scale), *features.shape[1:]]
    pooled = torch.zeros(len(rows), features.shape[1], size, size)
    gradients = torch.zeros_like(features), torch.zeros_like(rows)

    def call(kernel, *tensors):
        kernel(pooled.numel(), *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors), *sizes)

    call(kernels.forward, features, rows, pooled)
    upper = 2 * pooled
    call(kernels.backward, upper, rows, gradients[0])
    call(kernels.coordinates, pooled, upper, features, rows, gradients[1])
    return pooled, *gradients


@pytest.mark.parametrize('size', [1, 7])
def test_pooled_values_and_both_gradients_are_those_of_mmcvs_kernel(kernels, size):
    features, scale = torch.randn(2, 8, 14, 14), 1 / 16
    boxes = some_boxes(2, 9, 14, 14).float() / scale
    boxes[:, -2, 2:] = boxes[:, -2, :2] - 20  # of negative size
    boxes[:, -1, 2] = boxes[:, -1, 0]  # and of none
    rows = torch.cat([torch.arange(2).repeat_interleave(9)[:, None], boxes.flatten(0, 1)], dim=1)
    leaves = features.clone().requires_grad_(), rows.clone().requires_grad_()
    pooled = PrRoIPool(size, scale)(*leaves)
    ours = pooled.detach(), *torch.autograd.grad(pooled.square().sum(), leaves)
    expected = theirs(kernels, features, rows, size, scale)
    assert all(each.abs().max() > 0.01 for each in expected) and not expected[0][[7, 8, 16, 17]].any()
    for mine, its in zip(ours, expected, strict=True):
        assert torch.allclose(mine, its, atol=1e-4)
