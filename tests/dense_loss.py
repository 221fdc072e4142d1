"""The loss as the public multinomial-diffusion codes write it: one-hot, in log space, dense.

Every tensor is (B, C + 1, N), and sums of probabilities are log-add-exp. It is slow, and an
oracle of the library's one-pass loss for any C; nothing of the library is used but rates.
"""

import torch

FLOOR = 1e-30  # stands for 0 under a logarithm, as in those codes


def log_one_hot(tokens, num_classes):
    """log of one-hot tokens (B, N) -> (B, num_classes, N)."""
    hot = torch.nn.functional.one_hot(tokens, num_classes).permute(0, 2, 1)
    return torch.log(hot.float().clamp_min(FLOOR))


def log_rates(alpha, beta, gamma, step, dtype):
    """Logarithms of rates at `step` (B,), each (B, 1, 1)."""
    rates = (torch.as_tensor(rate)[step].to(dtype) for rate in (alpha, beta, gamma))
    return [rate.clamp_min(FLOOR).log()[:, None, None] for rate in rates]


def log_posterior(schedule, log_start, log_noisy, step):
    """log q(k_{s−1} | k_s, k_0) for log_start one-hot, log p(k_{s−1} | k_s) for log f.

    log_start (B, C, N), log_noisy (B, C + 1, N) one-hot, step (B,); gives (B, C + 1, N).
    """
    dtype = log_start.dtype
    alpha_bar, beta_bar, gamma_bar = log_rates(
        schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar, step, dtype
    )
    before = log_rates(schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar, step - 1, dtype)
    alpha, beta, gamma = log_rates(schedule.alpha, schedule.beta, schedule.gamma, step, dtype)
    occluded = log_noisy[:, -1:] > -1  # (B, 1, N)
    noisy = log_noisy[:, :-1]
    likelihood = torch.logaddexp(noisy + alpha_bar, beta_bar)  # q(k_s | k_0 = i)
    likelihood = torch.where(occluded, gamma_bar, likelihood)
    ratio = log_start - likelihood
    total = torch.logsumexp(ratio, dim=1, keepdim=True)
    earlier = torch.logaddexp(ratio + before[0], total + before[1])  # q(k_{s−1} | k_0), summed
    onward = torch.logaddexp(noisy + alpha, beta)  # q(k_s | k_{s−1} = j)
    onward = torch.where(occluded, gamma, onward)
    codes = earlier + onward
    occ = torch.where(occluded, total + before[2], torch.full_like(total, FLOOR).log())
    return torch.cat([codes, occ], dim=1)


def dense_loss(schedule, logits, k_start, k_s, step, aux_weight):
    """(loss, vlb, aux) of logits (B, N, C), as `losses.diffusion_loss`."""
    num_codes = logits.shape[-1]
    log_f = logits.log_softmax(dim=-1).transpose(1, 2)
    log_start = log_one_hot(k_start, num_codes).to(logits.dtype)
    log_noisy = log_one_hot(k_s, num_codes + 1).to(logits.dtype)
    true = log_posterior(schedule, log_start, log_noisy, step)
    model = log_posterior(schedule, log_f, log_noisy, step)
    kl = (true.exp() * (true - model)).sum(dim=1)  # (B, N)
    first = -(log_start.exp() * model[:, :-1]).sum(dim=1)
    kl = torch.where((step == 1)[:, None], first, kl)
    aux = -(log_start.exp() * log_f).sum(dim=1)
    return kl.mean() + aux_weight * aux.mean(), kl.mean(), aux.mean()
