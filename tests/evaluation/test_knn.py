import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.utils.data import DataLoader

from viewplug.evaluation.features import extract_features, pool, share
from viewplug.evaluation.knn import evaluate_knn, knn_predict, nearest


@pytest.fixture
def clusters():
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 8, generator=g)
    labels = torch.randint(5, (300,), generator=g)
    features = centres[labels] + 1.5 * torch.randn(300, 8, generator=g)
    return features[:200], labels[:200], features[200:], labels[200:]


@pytest.mark.parametrize('chunks', [(1024, 32768), (7, 11), (100, 3)])
def test_predictions_are_those_of_sklearn_whatever_the_chunks(clusters, chunks):
    bank, bank_labels, queries, _ = clusters
    ks = (1, 5, 20, 200)
    ours = knn_predict(queries, bank, bank_labels, ks, 0.07, *chunks)
    for k in ks:
        slow = KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d) / 0.07), metric='cosine', algorithm='brute')
        slow.fit(bank.numpy(), bank_labels.numpy())
        assert (ours[k].numpy() == slow.predict(queries.numpy())).all()


def test_temperature_weighs_the_near_neighbour_above_two_far_ones():
    bank, labels = torch.tensor([[1.0, 0.1], [1.0, 1.0], [1.0, 1.0]]), torch.tensor([4, 7, 7])
    queries = torch.tensor([[2.0, 0.0]])
    assert knn_predict(queries, bank, labels, 3, temperature=0.07)[3].item() == 4
    assert knn_predict(queries, bank, labels, 3, temperature=10.0)[3].item() == 7
    assert knn_predict(queries, bank, labels, 3, temperature=1e-4)[3].item() == 4  # exp(1 / 1e-4) would overflow


def test_k_beyond_the_bank_means_the_whole_bank_and_warns(clusters):
    bank, labels, queries, _ = clusters
    with pytest.warns(UserWarning, match='k=500 is larger than the bank of 200'):
        all_vote = knn_predict(queries, bank, labels, 500)[500]
    assert (all_vote == knn_predict(queries, bank, labels, 200)[200]).all()
    similarity, _ = nearest(queries, bank[:3], labels[:3], 5)
    assert similarity[:, 3:].isneginf().all() and similarity[:, :3].isfinite().all()


@pytest.mark.parametrize(
    'k, temperature, key', [(0, 0.07, 'k'), ((), 0.07, 'k'), ((1, 2.5), 0.07, 'k'), (1, 0, 'temp')]
)
def test_bad_numbers_are_named(clusters, k, temperature, key):
    bank, labels, queries, _ = clusters
    with pytest.raises(ValueError, match=key):
        knn_predict(queries, bank, labels, k, temperature)
    with pytest.raises(ValueError, match='do not fit'):
        knn_predict(queries, bank[:, :4], labels)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.backbone[1].eval()  # a frozen norm among training modules


def _loader(labelled=True, views=1, collate_fn=None):
    g = torch.Generator().manual_seed(1)
    images = torch.randint(256, (10, 3, 8, 8), generator=g, dtype=torch.uint8)
    samples = [DataSample().set_gt_label(i % 3) if labelled else DataSample() for i in range(10)]
    data = [dict(inputs=images[i] if views == 1 else [images[i]] * views, data_samples=samples[i]) for i in range(10)]

    def collate(batch):
        inputs = torch.stack([x['inputs'] for x in batch]) if views == 1 else [torch.zeros(len(batch), 3, 8, 8)] * views
        return dict(inputs=inputs, data_samples=[x['data_samples'] for x in batch])

    return DataLoader(data, batch_size=4, collate_fn=collate_fn or collate)


@pytest.mark.parametrize('collate_fn', [None, pseudo_collate])
def test_features_are_pooled_unit_vectors_and_every_training_mode_is_put_back(collate_fn):
    model = Net()
    before = {name: module.training for name, module in model.named_modules()}
    running = model.backbone[1].running_mean.clone()
    features, labels = extract_features(model, _loader(collate_fn=collate_fn))
    assert features.shape == (10, 4) and not features.requires_grad
    assert torch.allclose(features.norm(dim=1), torch.ones(10))
    assert labels.tolist() == [i % 3 for i in range(10)]
    assert before == {name: module.training for name, module in model.named_modules()}
    assert not before['backbone.1'] and before['backbone.0']
    assert torch.equal(running, model.backbone[1].running_mean)


def test_training_modes_come_back_when_a_batch_fails():
    model = Net()
    with pytest.raises(ValueError, match='2 views'):
        extract_features(model, _loader(views=2))
    assert model.training and model.backbone[0].training and not model.backbone[1].training


def test_pool_reads_maps_vectors_tokens_and_tuples():
    maps, vectors, tokens = torch.randn(2, 4, 3, 3), torch.randn(2, 4), torch.randn(2, 5, 4)
    unit = nn.functional.normalize
    assert torch.allclose(pool((vectors, maps)), unit(maps.mean((2, 3))))
    assert torch.allclose(pool(([maps, vectors],)), unit(vectors))  # ViT: patch tokens, then the class token
    assert torch.allclose(pool(tokens), unit(tokens.mean(1)))
    assert pool(vectors.bfloat16()).dtype == torch.float32


def test_samplers_are_replaced_so_that_every_image_counts_once():
    loader = _loader()
    shuffled = DataLoader(loader.dataset, 4, shuffle=True, drop_last=True, collate_fn=loader.collate_fn)
    labels = [int(s.gt_label) for batch in share(shuffled) for s in batch['data_samples']]
    assert labels == [i % 3 for i in range(10)]


def test_evaluation_of_the_bank_on_itself_is_perfect_and_unlabelled_data_is_refused():
    assert evaluate_knn(Net(), _loader(), _loader(), (1, 3), temperature=1e-4)[1] == 100
    with pytest.raises(ValueError, match='val_dataloader gives data_samples without gt_label'):
        evaluate_knn(Net(), _loader(), _loader(labelled=False))
