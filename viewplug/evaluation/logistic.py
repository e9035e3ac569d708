"""A classifier on features that fits in seconds: multinomial logistic regression, or a small MLP."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from viewplug.requirements import require

PROBES = ('logistic', 'mlp')


def probe_accuracy(
    train_features: Tensor, train_labels: Tensor, features: Tensor, labels: Tensor, probe: str = 'logistic'
) -> float:
    """Accuracy in percent of a classifier fitted to ``train_features`` (N, D) and tried on ``features`` (M, D).

    Every dimension is first shifted and scaled to mean 0 and deviation 1 over the training features, so that features
    of different scale (h, and g(h) of unit length) are probed alike. scikit-learn fits: 'logistic' is its
    LogisticRegression (L2, C=1), 'mlp' its MLPClassifier with one hidden layer of 128.

    Raises:
        ValueError: an unknown probe, or training labels of a single class.
    """
    require('sklearn')
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if probe not in PROBES:
        raise ValueError(f'probe must be one of {", ".join(PROBES)}, got {probe!r}')
    if len(np.unique(train_labels.cpu().numpy())) < 2:
        raise ValueError('a probe needs training labels of two classes at least, got one')
    if probe == 'logistic':
        classifier = LogisticRegression(max_iter=300)
    else:
        classifier = MLPClassifier(hidden_layer_sizes=(128,), early_stopping=True, max_iter=100, random_state=0)
    fitted = make_pipeline(StandardScaler(), classifier)
    fitted.fit(train_features.cpu().float().numpy(), train_labels.cpu().numpy())
    return 100 * float(fitted.score(features.cpu().float().numpy(), labels.cpu().numpy()))
