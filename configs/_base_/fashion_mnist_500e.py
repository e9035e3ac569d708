# Fashion-MNIST by ContrastiveCrop's protocol of small images; the data set is ours, the paper has no such row.
_base_ = ['./fashion_mnist_mocov2.py', './contrastive_crop_500e.py']

train_dataloader = dict(batch_size=512)
