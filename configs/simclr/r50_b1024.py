# SimCLR, ResNet-50, batch 1024 (arXiv:2002.05709, fig. 9).
_base_ = './r50_b4096.py'

train_dataloader = dict(batch_size=128)  # times 8 processes
