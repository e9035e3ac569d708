"""The smallest model of each kind of method whose steps move bytes between processes: all but the backbone."""

D, SIZE, PROTOTYPES = 16, 32, 48


def moco() -> dict:
    head = dict(type='QueueHead', queue_len=64, feat_dim=D, loss=dict(type='InfoNCELoss'))
    return dict(
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=D), head=head)),
        target=dict(type='MomentumTarget', shuffle_bn=True),
    )


def simclr() -> dict:
    head = dict(type='InBatchHead', loss=dict(type='InfoNCELoss'))
    return dict(
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=D), head=head)),
        target=dict(type='SharedTarget'),
        online_views=(0, 1),
        target_views=(0, 1),
        joint_views=True,
    )


def byol() -> dict:
    head = dict(type='PredictHead', predictor=dict(type='MLPNeck', normalize=False))
    return dict(
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=D, normalize=False), head=head)),
        target=dict(type='MomentumTarget', eman=True),
        online_views=(0, 1),
        target_views=(0, 1),
    )


def resim() -> dict:
    """On MoCo without ShuffleBN; a map of 4 x 4 positions, of which averages of 3 x 3 are the negatives."""
    parts = moco()
    head = dict(type='RegionHead', window=16, stride=8, downsample=8, feat_dim=D, input_size=SIZE, gather=True)
    region = dict(neck=dict(type='RegionNeck', stages=(8,), hidden_channels=D, out_channels=D), head=head)
    parts['branches']['region'] = region
    return dict(parts, target=dict(type='MomentumTarget'))


def dino() -> dict:
    """With a second head on the same projection, as iBOT's and ADCLR's, which has a centre of its own."""
    neck = dict(type='DINONeck', out_channels=PROTOTYPES, hidden_channels=D, bottleneck_channels=D)
    head = dict(type='DistillHead', warmup_epochs=0)
    both = dict(online_views=(0, 1), target_views=(0, 1))
    branches = dict(cls=dict(neck=neck, head=head), second=dict(neck='cls', head=head))
    return dict(branches=branches, target=dict(type='MomentumTarget'), **both)


MODELS = dict(moco=moco, simclr=simclr, byol=byol, resim=resim, dino=dino)
