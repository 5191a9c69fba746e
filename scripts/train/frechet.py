"""Figures that compare generated pictures with photos, on features of a frozen network.

The network is the one the discriminator looks through, so the distances flatter the generator and are no FID; they
are for comparing stages of one training.
"""

import torch


@torch.no_grad()
def features(network, batches):
    """Pooled features, in double precision, of batches of pictures in [-1, 1]."""
    return torch.cat([network.pooled(batch).double().cpu() for batch in batches])


def root(matrix):
    """Square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.t()


def distance(a, b):
    """Fréchet distance of the Gaussians fitted to two sets of features."""
    first, second = torch.cov(a.t()), torch.cov(b.t())
    half = root(first)
    shared = torch.linalg.eigvalsh(half @ second @ half).clamp(min=0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).pow(2).sum()
    return float(means + first.trace() + second.trace() - 2 * shared)


def spread(a, limit=1500):
    """Mean distance between two members of a set."""
    a = a[:limit]
    return float(torch.cdist(a, a).sum() / (len(a) * (len(a) - 1)))


def coverage(reference, points, neighbours=3):
    """Share of `points` that lie nearer to some reference than its own k-th neighbour does (Kynkäänniemi, 2019).

    With photos as the reference and fakes as the points it is the precision, the other way round the recall.
    """
    own = torch.cdist(reference, reference)
    radius = own.kthvalue(min(neighbours + 1, len(reference)), dim=1).values
    return float((torch.cdist(points, reference) <= radius).any(1).double().mean())
