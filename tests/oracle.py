"""The chain written out with explicit float64 matrices, from the definitions, for small C.

Slow and obvious on purpose; it shares no code with the library.
"""

import functools
import itertools

import torch

# (num_codes, num_steps, final_occlude_rate, final_replace_rate)
CHAINS = [
    (3, 5, 0.9, 0.1),
    (4, 6, 1.0, 0.0),
    (4, 6, 0.0, 1.0),
    (8, 3, 0.3, 0.7),
    (2, 1, 0.9, 0.1),
    (2, 2, 1.0, 0.0),
    (2, 2, 0.0, 1.0),
    (1, 4, 0.9, 0.1),
    (5, 7, 0.123, 0.877),
]


def one_step_matrix(num_codes, num_steps, occlude, replace, step):
    """M_s by Eq. 6, its rates by ratio of the linear cumulative ones."""

    def bars(s):
        return 1 - s / num_steps, occlude * s / num_steps

    (keep_s, occ_s), (keep_u, occ_u) = bars(step), bars(step - 1)
    alpha = keep_s / keep_u
    gamma = 1 - (1 - occ_s) / (1 - occ_u)
    beta = (1 - alpha - gamma) / num_codes
    if replace == 0:
        beta = 0.0  # exactly; the subtraction above leaves 1e-17
    matrix = torch.zeros(num_codes + 1, num_codes + 1, dtype=torch.float64)
    for i, j in itertools.product(range(num_codes), repeat=2):
        matrix[i, j] = alpha + beta if i == j else beta
    matrix[num_codes, :num_codes] = gamma
    matrix[num_codes, num_codes] = 1.0
    if occlude == 0:
        matrix[num_codes, :num_codes] = 0.0
    return matrix


@functools.cache
def product_matrix(chain, prev_step, step):
    """M_step … M_{prev_step + 1}: the matrix from step u to step s."""
    product = torch.eye(chain[0] + 1, dtype=torch.float64)
    for s in range(prev_step + 1, step + 1):
        product = one_step_matrix(*chain, s) @ product
    return product


def strides(chain):
    """All (u, s) with 0 ≤ u < s ≤ S."""
    return [(u, s) for s in range(1, chain[1] + 1) for u in range(s)]


@functools.cache
def reachable_pairs(chain, step):
    """All (k_0, k_s) that the chain produces with positive probability."""
    total = product_matrix(chain, 0, step)
    num_codes = chain[0]
    return [
        (k_0, k_s)
        for k_0 in range(num_codes)
        for k_s in range(num_codes + 1)
        if total[k_s, k_0] > 0
    ]


def posterior(chain, k_0, k_s, prev_step, step):
    """q(k_u | k_s, k_0), (C + 1,), by Bayes' rule over every value of k_u."""
    likelihood = product_matrix(chain, prev_step, step)[k_s]
    prior = product_matrix(chain, 0, prev_step)[:, k_0]
    joint = likelihood * prior
    return joint / joint.sum()


def model_posterior(chain, f, k_s, prev_step, step):
    """Eq. 9 as its sum over the possible k̂_0, f (C,) renormalised over them."""
    candidates = [k_0 for k_0, seen in reachable_pairs(chain, step) if seen == k_s]
    mass = sum(f[k_0] for k_0 in candidates)
    return sum(f[k_0] / mass * posterior(chain, k_0, k_s, prev_step, step) for k_0 in candidates)


def kl_nats(chain, f, k_0, k_s, step):
    """The sampled term of Eq. 11 for one token: KL, at step 1 −log p(k_0 | k_1)."""
    p = model_posterior(chain, f, k_s, step - 1, step)
    if step == 1:
        return -torch.log(p[k_0])
    q = posterior(chain, k_0, k_s, step - 1, step)
    return sum(q[j] * torch.log(q[j] / p[j]) for j in range(len(q)) if q[j] > 0)
