"""Training steps whose every outcome is kept, to compare two models or two numbers of processes."""

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.model import MMDistributedDataParallel
from toys import total


def fit(model, batches, wrap: bool, lr: float = 0.03) -> list[dict]:
    """Loss, gradients and state after each of some SGD steps."""
    wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False) if wrap else model
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    history = []
    for step, batch in enumerate(batches):
        torch.manual_seed(step)  # so that both draw the same permutation for shuffling
        share = [view.chunk(get_world_size())[get_rank()] for view in batch] if wrap else list(batch)
        loss = total(wrapped(share, None, mode='loss'))
        optimiser.zero_grad()
        loss.backward()
        gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.requires_grad}
        optimiser.step()
        state = {key: value.detach().clone() for key, value in model.state_dict().items()}
        history.append(dict(loss=loss.item(), gradients=gradients, state=state))
    return history
