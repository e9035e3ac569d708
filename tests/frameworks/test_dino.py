"""DINO, iBOT and ADCLR as configs of Siamese, on a backbone that returns a mapping."""

import copy

import pytest
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.model import MMDistributedDataParallel
from processes import in_processes
from torch import nn
from torch.nn import functional as F
from toys import ToyBackbone, total, toy_siamese, toy_views

from viewplug.losses import InfoNCELoss
from viewplug.registry import MODELS
from viewplug.targets import MomentumTarget

D, K, SIZE, PATCH = 12, 20, 8, 4
GLOBALS, ALL = (0, 1), (0, 1, 2, 3)
SAME = dict(online_views=GLOBALS, target_views=GLOBALS)


class ToyViT(nn.Module):
    """The contract of QueryViT: patches mixed by a mean, queries that see all patches, a mask token."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * PATCH * PATCH, D)
        self.mask_token = nn.Parameter(torch.randn(D))
        self.mix = nn.Linear(D, D)
        self.drop = nn.Dropout(drop)
        self.calls = []

    def forward(self, images, queries=None, masks=None):
        self.calls.append(dict(images=images, queries=queries, masks=masks))
        cut = images.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
        tokens = self.embed(cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2))
        if masks is not None:
            tokens = torch.where(masks.flatten(1)[..., None], self.mask_token, tokens)
        mean = self.drop(torch.tanh(self.mix(tokens.mean(dim=1))))
        found = dict(cls=mean, patch=torch.tanh(tokens) + mean[:, None])
        if queries is not None:
            found['query'] = torch.tanh(self.mix(self.embed(queries.flatten(2)))) + mean[:, None]
        return found


def neck() -> dict:
    return dict(type='DINONeck', out_channels=K, hidden_channels=16, bottleneck_channels=8)


def dino() -> dict:
    return dict(cls=dict(neck=neck(), head=dict(type='DistillHead', warmup_epochs=0)))


def ibot(shared: bool = True) -> dict:
    patch = dict(
        neck='cls' if shared else neck(),
        head=dict(type='PatchDistillHead', warmup_epochs=0),
        reads='patch',
        masked=True,
        pairs='same',
        online_views=GLOBALS,
    )
    return dict(**dino(), patch=patch)


def adclr(base=dino) -> dict:
    head = dict(type='DistillHead', warmup_epochs=0)
    return dict(**base(), query=dict(neck='cls', head=head, reads='query', online_views=GLOBALS))


def framework(branches, joint: bool = False, drop: float = 0.0, **changes):
    torch.manual_seed(1)
    changes = {**dict(online_views=ALL, target_views=GLOBALS), **changes}
    target = dict(type='MomentumTarget', momentum=0.9, joint_views=joint)
    return toy_siamese(backbone=ToyViT(drop), branches=branches, target=target, joint_views=joint, **changes)


def batch(number: int = 4, queries: int = 3) -> dict:
    generator = torch.Generator().manual_seed(5)
    views = [torch.randn(number, 3, size, size, generator=generator) for size in (SIZE, SIZE, PATCH, PATCH)]
    masks = torch.rand(number, 2, 2, 2, generator=generator) < 0.4
    masks[0] = False
    masks[1, :, 0, 0] = True
    return dict(inputs=views, queries=torch.randn(number, queries, 3, PATCH, PATCH, generator=generator), masks=masks)


def drifted(model):
    """Target weights and centres that differ from their start."""
    with torch.no_grad():
        for p in model.target.parameters():
            p.add_(0.1 * torch.randn(p.shape))
        for name, buffer in model.named_buffers():
            if name.endswith('center'):
                buffer.normal_().mul_(0.1)
    return model


def flat(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.flatten(0, 1)


def cross_entropy(head, online, target):
    targets = F.softmax((target.detach() - head.center) / 0.07, dim=-1)
    return -(targets * F.log_softmax(online / 0.1, dim=-1)).sum(dim=-1)


@pytest.mark.parametrize('joint', [False, True])
def test_all_three_losses_are_their_equations_on_every_pair_of_views(joint):
    model, data = drifted(framework(adclr(ibot), joint=joint)).eval(), batch()
    losses = model.loss(**data)
    views, queries, masks = data['inputs'], data['queries'], data['masks']
    project = model.branches['cls'].neck
    teach = model.target.necks['cls']
    heads = {name: model.branches[name].head for name in model.branches}
    student, teacher = {}, {}
    for v in ALL:
        student[v] = model.backbone(views[v], *((queries, masks[:, v]) if v in GLOBALS else ()))
    for v in GLOBALS:
        teacher[v] = model.target.backbone(views[v], queries)
    cls = [
        cross_entropy(heads['cls'], project(student[o]['cls'])[0], teach(teacher[t]['cls'])[0]).mean()
        for t in GLOBALS
        for o in ALL
        if o != t
    ]
    torch.testing.assert_close(losses['cls.loss'], torch.stack(cls).mean())
    query = [
        cross_entropy(
            heads['query'], project(flat(student[o]['query']))[0], teach(flat(teacher[1 - o]['query']))[0]
        ).mean()
        for o in GLOBALS
    ]
    torch.testing.assert_close(losses['query.loss'], torch.stack(query).mean())
    patch = []
    for v in GLOBALS:
        rows = cross_entropy(
            heads['patch'], project(flat(student[v]['patch']))[0], teach(flat(teacher[v]['patch']))[0]
        ).unflatten(0, (-1, 4))
        mask = masks[:, v].flatten(1)
        patch.append(((rows * mask).sum(1) / mask.sum(1).clamp(min=1)).mean())
    torch.testing.assert_close(losses['patch.loss'], torch.stack(patch).mean())


@pytest.mark.parametrize('branches', [dino, ibot, adclr, lambda: adclr(ibot)], ids=['dino', 'ibot', 'adclr', 'both'])
def test_joint_views_give_the_losses_and_gradients_of_views_one_by_one(branches):
    found = []
    for joint in (False, True):
        model = drifted(framework(branches(), joint=joint))
        model.backbone.calls.clear()
        losses = model.loss(**batch())
        total(losses).backward()
        found.append((losses, {key: p.grad for key, p in model.named_parameters() if p.grad is not None}))
        # Queries and masks have kinds of views of their own: two global, two local.
        assert len(model.backbone.calls) == (2 if joint else 4)
    for key, value in found[0][0].items():
        torch.testing.assert_close(found[1][0][key], value, msg=key)
    assert found[0][1].keys() == found[1][1].keys()
    for key, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize('rows', [1, 3])
def test_gradient_caching_cuts_queries_and_masks_with_the_images(rows):
    found = []
    for grad_cache in (None, rows):
        model = drifted(framework(adclr(ibot), joint=True, grad_cache=grad_cache)).double()
        whole = batch()
        views = [view.double() for view in whole['inputs']]
        losses = model.loss(views, queries=whole['queries'].double(), masks=whole['masks'])
        total(losses).backward()
        found.append((losses, {key: p.grad for key, p in model.named_parameters() if p.grad is not None}))
    for key, value in found[0][0].items():
        torch.testing.assert_close(found[1][0][key], value, msg=key)
    assert found[0][1].keys() == found[1][1].keys()
    for key, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], gradient, atol=1e-10, rtol=1e-8)


def test_queries_go_to_both_sides_of_the_global_views_and_masks_to_the_online_side_only():
    model, data = framework(adclr(ibot)), batch()
    model.backbone.calls.clear()
    model.target.backbone.calls.clear()
    model.loss(**data)
    online, target = model.backbone.calls, model.target.backbone.calls
    assert [call['queries'] is not None for call in online] == [True, True, False, False]
    assert [call['masks'] is not None for call in online] == [True, True, False, False]
    assert [call['queries'] is data['queries'] for call in target] == [True, True]
    assert [call['masks'] for call in target] == [None, None]


def test_only_masked_patches_go_through_the_neck():
    model, data = framework(ibot(shared=False)), batch()
    rows = []
    model.branches['patch'].neck.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    model.target.necks['patch'].register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    model.loss(**data)
    masked = int(data['masks'].sum())
    assert rows == [masked, masked] and 0 < masked < 32


@pytest.mark.parametrize('joint', [False, True])
def test_rows_of_all_views_and_branches_go_through_a_neck_at_once_unless_they_change_each_other(joint):
    calls = []

    def counted(model):
        for side, neck in (('online', model.branches['cls'].neck), ('target', model.target.necks['cls'])):
            neck.register_forward_hook(lambda _, args, __, side=side: calls.append((side, len(args[0]))))
        return model

    data = batch()
    masked = int(data['masks'].sum())
    counted(framework(adclr(ibot), joint)).loss(**data)
    # Four images: class tokens of four views, three queries in both global ones, masked patches.
    assert sorted(calls) == [('online', 16 + 24 + masked), ('target', 8 + 24 + masked)]
    calls.clear()
    branches = dino()
    branches['cls']['neck']['norm_cfg'] = dict(type='BN')
    counted(framework(branches, joint)).loss(**data)
    apart = [('online', 8)] * 2 + [('target', 8)] if joint else [('online', 4)] * 4 + [('target', 4)] * 2
    assert sorted(calls) == apart


def test_the_prototypes_weight_norm_is_computed_once_a_step_on_each_side():
    model = framework(adclr(ibot))
    sides = model.branches['cls'].neck, model.target.necks['cls']
    calls = []
    for side, neck in enumerate(sides):
        norm = neck.last_layer.parametrizations.weight[0]
        norm.register_forward_hook(lambda *_, side=side: calls.append(side))
    total(model.loss(**batch())).backward()
    assert sorted(calls) == [0, 1]
    total(model.loss(**batch())).backward()
    assert sorted(calls) == [0, 0, 1, 1]  # and anew in the next step, whose weights are others


def test_necks_that_are_copies_of_each_other_keep_their_own_prototypes():
    first = MODELS.build(dict(neck(), in_channels=D))
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.last_layer.parametrizations.weight.original1.normal_()
    branches = ibot(shared=False)
    branches['cls']['neck'], branches['patch']['neck'] = first, second
    model, data = framework(branches), batch()
    seen = []
    second.register_forward_hook(lambda _, args, output: seen.append((args[0], output[0])))
    model.loss(**data)
    rows, logits = seen[0]
    torch.testing.assert_close(logits, second(rows)[0])


def test_a_shared_neck_is_one_module_on_each_side():
    model = framework(adclr(ibot))
    names = {name.split('.')[2] for name in model.state_dict() if name.startswith('target.necks.')}
    assert names == {'cls'} and set(model.necks) == {'cls'}
    assert not hasattr(model.branches['patch'], 'neck') and not hasattr(model.branches['query'], 'neck')
    extra = set(model.state_dict()) - set(framework(dino()).state_dict())
    assert extra == {'branches.patch.head.center', 'branches.query.head.center'}
    more = len(set(framework(ibot(shared=False)).state_dict())) - len(set(framework(ibot()).state_dict()))
    assert more == 2 * len(model.branches['cls'].neck.state_dict())


def test_a_borrower_may_stand_before_the_owner():
    branches = adclr()
    model = framework(dict(query=branches['query'], cls=branches['cls']))
    assert model.branches['query'].head.feat_dim == K
    assert set(model.loss(**batch())) >= {'query.loss', 'cls.loss'}


def test_latest_holds_what_the_neck_read_and_no_logits():
    model, data = framework(adclr(ibot)), batch()
    model.loss(**data)
    shapes = {name: {v: tuple(z.shape) for v, z in side['online'].items()} for name, side in model.latest.items()}
    assert shapes['cls'] == dict.fromkeys(ALL, (4, D))
    assert shapes['query'] == dict.fromkeys(GLOBALS, (12, D))
    assert shapes['patch'] == {v: (int(data['masks'][:, v].sum()), D) for v in GLOBALS}
    assert set(model.latest['query']['target']) == {0, 1} and not model.latest['cls']['online'][0].requires_grad


def test_the_log_has_entropy_kl_and_the_centre_of_each_branch():
    model = framework(adclr(ibot))
    loss, logged = model.parse_losses(model.loss(**batch()))
    keys = {f'{name}.{key}' for name in ('cls', 'patch', 'query') for key in ('target_entropy', 'kl', 'center_norm')}
    assert keys <= set(logged)
    assert loss.item() == pytest.approx(sum(logged[f'{name}.loss'].item() for name in ('cls', 'patch', 'query')))


def test_the_target_never_drops_anything():
    model = framework(dino(), drop=0.5).train()
    assert model.backbone.drop.training and not model.target.backbone.drop.training
    views = batch()['inputs']
    first, second = (model.target.embeddings(model, views, GLOBALS, {})[0]['cls'] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(model.encode(views[0])['cls'], model.encode(views[0])['cls'])


def test_a_target_with_batch_norm_still_takes_batch_statistics():
    model = toy_siamese(backbone=ToyBackbone(batch_norm=True)).train()
    norm, convolution = model.target.backbone.layers[1], model.target.backbone.layers[0]
    assert norm.training and not convolution.training and model.target.training
    model.eval()
    assert not norm.training


def test_shared_targets_encode_masked_views_again():
    for kind in ('SharedTarget', 'StopGradTarget'):
        model = framework(ibot())
        model.target = __import__('viewplug.targets', fromlist=[kind]).__dict__[kind]()
        model.backbone.calls.clear()
        model.loss(**batch())
        assert [call['masks'] is not None for call in model.backbone.calls] == [True, True, False, False, False, False]


def contrastive(kind: str) -> dict:
    loss = dict(type='InfoNCELoss')
    heads = dict(queue=dict(type='QueueHead', queue_len=24, loss=loss), in_batch=dict(type='InBatchHead', loss=loss))
    plain = dict(neck=dict(type='MLPNeck', out_channels=8), head=heads[kind])
    return dict(image=plain, query=dict(neck='image', head=dict(heads[kind]), reads='query', online_views=GLOBALS))


@pytest.mark.parametrize('kind', ['queue', 'in_batch'])
def test_queries_are_instances_of_their_own_in_contrastive_heads(kind):
    model, data = framework(contrastive(kind)), batch()
    del data['masks']
    seen = []
    head = model.branches['query'].head

    class Seen(InfoNCELoss):  # QueueHead hands a class of its own the similarities
        def forward(self, *args):
            return seen.append(args) or super().forward(*args)

    head.loss_module = Seen(head.loss_module.temperature)
    losses = model.loss(**data)
    positive, negatives = seen[0]
    assert positive.shape == (12,)  # 4 images with 3 queries
    assert negatives.shape == (12, 24)  # the queue, or both views of all queries
    project = model.branches['image'].neck
    online = project(flat(model.backbone(data['inputs'][1], data['queries'])['query']))[0]
    keys = model.target.backbone(data['inputs'][0], data['queries'])['query']
    target = model.target.necks['image'](flat(keys))[0]
    torch.testing.assert_close(positive, (online * target).sum(1))
    torch.testing.assert_close(online.norm(dim=1), torch.ones(12))
    total(losses).backward()


def steps(branches, wrap: bool, count: int = 3):
    model = framework(branches).double()
    wrapped = model
    if wrap:
        wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    history = []
    for step in range(count):
        torch.manual_seed(step)
        data = batch()
        data['inputs'] = [view.double() + torch.randn(view.shape, dtype=torch.float64) for view in data['inputs']]
        data['queries'] = data['queries'].double()
        if wrap:  # rank 0 has the image without masks
            part = slice(2 * get_rank(), 2 * get_rank() + 2)
            data = {key: [v[part] for v in value] if key == 'inputs' else value[part] for key, value in data.items()}
        loss = total(wrapped(data.pop('inputs'), None, mode='loss', **data))
        optimizer.zero_grad()
        loss.backward()
        gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        state = {key: value.clone() for key, value in model.state_dict().items()}
        history.append((loss.item(), gradients, state))
    assert not wrap or get_world_size() == 2
    return history


@pytest.mark.parametrize('kind', ['both', 'apart'])
def test_two_processes_take_the_steps_of_one(tmp_path, kind):
    branches = adclr(ibot) if kind == 'both' else ibot(shared=False)
    alone = steps(branches, False)
    ranks = in_processes(steps, tmp_path, branches, True)
    for expected, first, second in zip(alone, *ranks, strict=True):
        assert (first[0] + second[0]) / 2 == pytest.approx(expected[0], rel=1e-6)
        for which in (1, 2):
            for key, value in expected[which].items():
                for found in (first, second):
                    torch.testing.assert_close(found[which][key], value, atol=1e-6, rtol=1e-5, msg=key)


def test_a_process_without_any_masked_patch_trains_on(tmp_path):
    model, data = framework(ibot()), batch()
    data['masks'][:] = False
    losses = model.loss(**data)
    total(losses).backward()
    assert losses['patch.loss'] == 0 and all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_resumed_model_takes_the_next_step_of_the_unbroken_one():
    model = drifted(framework(adclr(ibot)))
    model.loss(**batch())
    twin = framework(adclr(ibot))
    twin.load_state_dict(model.state_dict())
    expected, found = model.loss(**batch()), twin.loss(**batch())
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert all(torch.equal(twin.state_dict()[key], value) for key, value in model.state_dict().items())


def test_a_bf16_step_is_finite_and_its_losses_are_float32():
    model = framework(adclr(ibot))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(batch()['inputs'], None, mode='loss', **{k: v for k, v in batch().items() if k != 'inputs'})
    total(losses).backward()
    assert all(losses[f'{name}.loss'].dtype == torch.float32 for name in ('cls', 'patch', 'query'))
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_training_tells_images_apart_and_does_not_collapse():
    model = framework(dino())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(60):
        colours = torch.randn(16, 3, 1, 1)
        views = [colours + 0.1 * torch.randn(16, 3, size, size) for size in (SIZE, SIZE, PATCH, PATCH)]
        losses = model.loss(views)
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
    model.eval()
    own = model.loss(views)
    others = model.loss([views[0], *(view.roll(1, dims=0) for view in views[1:])])
    assert own['cls.loss'] < others['cls.loss'] - 0.5
    assert own['cls.kl'] > 0.01 and own['cls.target_entropy'] < torch.tensor(float(K)).log() - 0.1
    logits = model.target.embeddings(model, views, (0,), {})[0]['cls'] - model.branches['cls'].head.center
    assert len(logits.argmax(dim=1).unique()) > 1


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (dict(neck='other'), r"model.branches.query.neck='other' must name a branch.*one of cls"),
        (dict(neck='query'), r"model.branches.query.neck='query' must name a branch"),
        (dict(online_views=(0, 7)), r'model.branches.query.online_views=\(0, 7\) is no part'),
        (dict(target_views=(2,)), r'model.branches.query.target_views=\(2,\) is no part'),
        (dict(weights=2), 'takes the keys neck, head, weight and pairs .*got head.*weights'),
    ],
)
def test_what_a_branch_cannot_be_is_said_by_name(change, sentence):
    branches = adclr()
    branches['query'].update(change)
    with pytest.raises(ValueError, match=sentence):
        framework(branches)


def test_what_a_batch_lacks_is_said_by_name():
    views = batch()['inputs']
    with pytest.raises(ValueError, match='model.branches.query needs queries.*viewplug.QueryCrops'):
        framework(adclr()).loss(views)
    with pytest.raises(ValueError, match='model.branches.patch needs masks.*viewplug.BlockMasks'):
        framework(ibot()).loss(views)
    with pytest.raises(ValueError, match='reads the masked patches of view 1, but the batch has masks of 1 views'):
        framework(ibot()).loss(views, masks=batch()['masks'][:, :1])
    branches = dino()
    branches['cls']['reads'] = 'tokens'
    with pytest.raises(ValueError, match="model.branches.cls.reads='tokens', but the backbone gives cls, patch"):
        framework(branches).loss(views)


def test_masked_branches_and_shuffled_batches_need_what_they_need():
    with pytest.raises(ValueError, match='masked=True needs a backbone whose forward takes masks.*got ToyBackbone'):
        toy_siamese(branches=ibot(), online_views=ALL, target_views=GLOBALS)
    with pytest.raises(ValueError, match='shuffle_bn=True .*model.branches.query reads'):
        toy_siamese(
            backbone=ToyViT(),
            branches=adclr(),
            target=dict(type='MomentumTarget', shuffle_bn=True),
            online_views=ALL,
            target_views=GLOBALS,
        )
    assert isinstance(framework(dino()).target, MomentumTarget)


def test_queries_for_a_backbone_that_takes_none_are_refused():
    with pytest.raises(
        ValueError, match="query.reads='query' needs a backbone whose forward takes queries.*ToyBackbone"
    ):
        toy_siamese(branches=adclr(), online_views=ALL, target_views=GLOBALS)


@pytest.mark.parametrize('changes', [dict(reads='patch'), dict(reads='patch', masked=True)])
def test_entries_of_a_backbone_that_gives_no_mapping_are_refused(changes):
    class Maps(ToyBackbone):
        def forward(self, images, masks=None):
            return super().forward(images)

    model = toy_siamese(backbone=Maps(), branches=dict(cls=dict(dino()['cls'], pairs='same', **changes)), **SAME)
    with pytest.raises(ValueError, match=f"cls has reads='patch', masked={'masked' in changes}.*but .* gives a tuple"):
        model.loss(toy_views(4, 8), masks=batch()['masks'])


@pytest.mark.parametrize('reads', ['cls', 'query'])
def test_what_is_no_patch_is_not_masked(reads):
    branches = ibot()
    branches['patch']['reads'] = reads
    with pytest.raises(ValueError, match=f"patch.masked=True reads masked patches, got reads='{reads}'; set"):
        framework(branches)
