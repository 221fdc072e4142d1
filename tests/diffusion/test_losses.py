import itertools
import math
from decimal import Decimal, localcontext

import pytest
import torch
from chains import chains

from di2pose_lib.diffusion import OccludeReplaceSchedule, diffusion_loss, elbo, q_sample
from di2pose_lib.diffusion.loss_kernel import _sum_of_logs
from di2pose_lib.diffusion.reference import equation_loss, kl_nats, perfect_denoiser

EXACT = {"atol": 1e-12, "rtol": 1e-12}
DEFAULT, OCCLUDE_ONLY, REPLACE_ONLY = (0.9, 0.1), (1.0, 0.0), (0.0, 1.0)
rates = pytest.mark.parametrize("final_rates", [DEFAULT, OCCLUDE_ONLY, REPLACE_ONLY], ids=str)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_logits(*shape, seed=0, scale=2.0, dtype=torch.float64):
    return (scale * torch.randn(shape, generator=seeded(seed), dtype=torch.float64)).to(dtype)


def random_case(num_codes, num_steps, final_rates, batch=6, num_tokens=9, scale=2.0):
    """A schedule with (logits, k_start, k_s, step) drawn from its own chain."""
    schedule = OccludeReplaceSchedule(num_codes, num_steps, *final_rates)
    k_start = torch.randint(num_codes, (batch, num_tokens), generator=seeded(1))
    step = torch.randint(1, num_steps + 1, (batch,), generator=seeded(2))
    step[0], step[1] = 1, num_steps
    k_s = q_sample(schedule, k_start, step, seeded(3))
    return schedule, (random_logits(batch, num_tokens, num_codes, scale=scale), k_start, k_s, step)


# The sampled term


@chains
def test_terms_are_means_over_tokens_and_batch_with_a_step_per_pose(chain):
    num_codes, num_steps = chain[:2]
    schedule, (logits, k_start, k_s, step) = random_case(num_codes, num_steps, chain[2:])
    loss = diffusion_loss(schedule, logits, k_start, k_s, step, aux_weight=0.3)
    f = logits.softmax(-1)
    expected = torch.tensor(
        [
            [kl_nats(schedule, f[b, n], int(step[b]))[k_s[b, n], k_start[b, n]] for n in range(9)]
            for b in range(6)
        ],
        dtype=torch.float64,
    )
    aux = torch.nn.functional.cross_entropy(logits.flatten(0, 1), k_start.flatten())
    torch.testing.assert_close(loss.vlb, expected.mean(), **EXACT)
    torch.testing.assert_close(loss.vlb_per_sample, expected.mean(1), **EXACT)
    torch.testing.assert_close(loss.aux, aux, **EXACT)
    torch.testing.assert_close(loss.loss, expected.mean() + 0.3 * aux, **EXACT)


@chains
def test_poses_may_weigh_differently_and_have_a_lambda_of_their_own(chain):
    num_codes, num_steps = chain[:2]
    schedule, (logits, k_start, k_s, step) = random_case(num_codes, num_steps, chain[2:])
    generator = torch.Generator().manual_seed(5)
    own, weight = torch.rand(2, 6, generator=generator, dtype=torch.float64)
    plain = diffusion_loss(schedule, logits, k_start, k_s, step)
    loss = diffusion_loss(schedule, logits, k_start, k_s, step, aux_weight=own, weight=weight)
    each = [
        torch.nn.functional.cross_entropy(logits[b], k_start[b], reduction="mean") for b in range(6)
    ]
    expected = weight * (plain.vlb_per_sample + own * torch.stack(each))
    torch.testing.assert_close(loss.loss, expected.mean(), **EXACT)
    assert torch.equal(loss.vlb, plain.vlb) and torch.equal(loss.aux, plain.aux)
    even = diffusion_loss(schedule, logits, k_start, k_s, step, 0.3, torch.ones(6).double())
    torch.testing.assert_close(even.loss, plain.vlb + 0.3 * plain.aux, **EXACT)


def test_one_occluded_token_by_hand():
    # S = 2, γ̄ = 0.4, 0.8. Occ at 2: Occ at 1 with 1/2, both sides alike, so the KL is that of
    # the codes' half. q over codes: (β̄_1 + ᾱ_1, β̄_1) / 1.2 = (0.55, 0.05) / 1.2, f = (1/2, 1/2).
    schedule = OccludeReplaceSchedule(2, 2, 0.8, 0.2)
    loss = diffusion_loss(
        schedule, torch.zeros(1, 1, 2).double(), torch.tensor([[0]]), torch.tensor([[2]]), 2
    )
    q = (0.55 / 1.2, 0.05 / 1.2)
    expected = sum(value * math.log(value / 0.25) for value in q)
    assert loss.vlb.item() == pytest.approx(expected, abs=1e-14)


def test_occlude_only_at_step_one_is_cross_entropy_on_hidden_tokens_and_zero_on_seen_ones():
    schedule = OccludeReplaceSchedule(4, 10, *OCCLUDE_ONLY)
    logits = random_logits(1, 2, 4)
    k_start = torch.tensor([[1, 3]])
    loss = diffusion_loss(schedule, logits, k_start, torch.tensor([[1, 4]]), 1)
    hidden = -logits[0, 1].log_softmax(-1)[3]
    torch.testing.assert_close(loss.vlb, hidden / 2, **EXACT)


@rates
def test_a_denoiser_that_knows_the_truth_pays_nothing(final_rates):
    schedule, (_, k_start, k_s, step) = random_case(7, 10, final_rates)
    sure = 60.0 * torch.nn.functional.one_hot(k_start, 7).double()
    loss = diffusion_loss(schedule, sure, k_start, k_s, step)
    assert abs(loss.loss.item()) < 1e-12


@rates
def test_the_kl_is_never_negative(final_rates):
    schedule, (_, k_start, k_s, _) = random_case(5, 10, final_rates)
    for step in range(1, 11):
        k_s = q_sample(schedule, k_start, step, seeded(step))
        for scale in (0.1, 1, 10):
            logits = random_logits(6, 9, 5, seed=step, scale=scale)
            loss = diffusion_loss(schedule, logits, k_start, k_s, step)
            assert loss.vlb_per_sample.min() > -1e-14


# Precision and gradients


@rates
@pytest.mark.parametrize("num_codes", [2, 64, 1000])
def test_float32_and_half_logits_come_close_to_float64(final_rates, num_codes):
    schedule, (logits, *rest) = random_case(num_codes, 100, final_rates)
    for dtype, tolerance in [(torch.float32, 2e-5), (torch.bfloat16, 2e-5), (torch.float16, 2e-5)]:
        given = logits.to(dtype)
        reference = diffusion_loss(schedule, given.double(), *rest)
        loss = diffusion_loss(schedule, given, *rest)
        for name in ("loss", "vlb", "aux"):
            value, wanted = getattr(loss, name), getattr(reference, name)
            assert value.dtype == torch.float32 and value.shape == ()
            assert wanted.dtype == torch.float64
            torch.testing.assert_close(value.double(), wanted, atol=tolerance, rtol=tolerance)
    # rounding the logits to bf16 is itself a small matter
    rounded = diffusion_loss(schedule, logits.bfloat16(), *rest).loss.double()
    exact = diffusion_loss(schedule, logits, *rest).loss
    torch.testing.assert_close(rounded, exact, atol=2e-2, rtol=2e-2)


def kl_in_60_digits(chain, odds, k_0, k_s, step):
    """The term of Eq. 11 at step > 1 of a visible token, f in proportion to `odds`."""
    codes = range(chain[0])
    with localcontext() as context:
        context.prec = 60
        replace = Decimal(chain[3])

        def rates(s):  # ᾱ_s, 1 − γ̄_s
            share = Decimal(s) / chain[1]
            return 1 - share, 1 - (1 - replace) * share

        def chance(seen, code, kept, visible):
            return (kept if seen == code else 0) + (visible - kept) / chain[0]

        early, late = rates(step - 1), rates(step)
        stride = [b / a for a, b in zip(early, late, strict=True)]
        joint = [[chance(k_s, j, *stride) * chance(j, i, *early) for j in codes] for i in codes]
        q = [[value / sum(row) for value in row] for row in joint]  # q(j | k_s, i)
        odds = [Decimal(value) for value in odds]
        p = [sum(odds[i] * q[i][j] for i in codes) / sum(odds) for j in codes]
        return float(sum(q[k_0][j] * (q[k_0][j] / p[j]).ln() for j in codes))


def test_sixty_digits_agree_with_the_brute_force_kl():
    chain, odds = (3, 4, 0.9, 0.1), torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    for step, k_0, k_s in itertools.product((2, 3, 4), range(3), range(3)):
        wanted = kl_nats(OccludeReplaceSchedule(*chain), odds, step)
        got = kl_in_60_digits(chain, odds.tolist(), k_0, k_s, step)
        assert got == pytest.approx(wanted[k_s, k_0].item(), rel=1e-9)


@pytest.mark.parametrize("num_codes", [1, 2, 3, 4, 5, 6, 7, 4375])
@pytest.mark.parametrize("replace", [0.1, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 1e-24])
@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0])
def test_float32_keeps_to_float64_however_rare_replacement_is(num_codes, replace, scale):
    # Logarithms of four codes' product: neither 4th powers of probabilities that underflow
    # nor codes that are left over where C is no multiple of 4 may show.
    schedule = OccludeReplaceSchedule(num_codes, 100, 1 - replace, replace)
    k_start = torch.randint(num_codes, (8, 6), generator=seeded(1))
    step = torch.tensor([1, 2, 3, 20, 50, 80, 99, 100])
    other = torch.randint(num_codes, (8, 2), generator=seeded(2))  # replaced, though so rare
    occ = torch.full((8, 2), num_codes)
    k_s = torch.cat([k_start[:, :2], other, occ], dim=1)
    logits = random_logits(8, 6, num_codes, scale=scale, dtype=torch.float32)
    logits[:, ::2].scatter_(-1, k_start[:, ::2, None], scale * 10)  # sure of what is true
    logits[:, 3].scatter_(-1, k_s[:, 3, None], scale * 10)  # and of what is seen
    (wanted, wanted_grad), (got, grad) = (
        loss_and_gradient(schedule, given, k_start, k_s, step)
        for given in (logits.double(), logits)
    )
    torch.testing.assert_close(
        got.vlb_per_sample.double(), wanted.vlb_per_sample, atol=2e-5, rtol=2e-5
    )
    torch.testing.assert_close(grad.double(), wanted_grad, atol=1e-6, rtol=1e-3)


def loss_and_gradient(schedule, logits, *rest):
    leaf = logits.clone().requires_grad_()
    result = diffusion_loss(schedule, leaf, *rest)
    (gradient,) = torch.autograd.grad(result.loss, leaf)
    return result, gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("replace", [0.1, 1e-3])
@pytest.mark.parametrize("sure", [4.0, 12.0, 20.0, 30.0])
def test_the_gradient_is_right_where_f_is_sure_of_a_wrong_code_that_is_seen(dtype, replace, sure):
    # In a row whose doubt 1 − f float32 cannot hold, beside an ordinary one.
    schedule = OccludeReplaceSchedule(4375, 100, 1 - replace, replace)
    logits = torch.full((1, 2, 4375), -60.0)
    logits[0, 0, 1], logits[0, 0, 2] = sure, 0.0
    logits[0, 1] = random_logits(4375)
    logits = logits.to(dtype)
    k_start, k_s = torch.tensor([[0, 0]]), torch.tensor([[1, 1]])
    (wanted, wanted_grad), (got, grad) = (
        loss_and_gradient(schedule, given, k_start, k_s, 2) for given in (logits.double(), logits)
    )
    assert wanted_grad[0, 0, 1] > 1e-4
    torch.testing.assert_close(got.loss.double(), wanted.loss, rtol=1e-5, atol=0)
    rtol = 1e-2 if dtype == torch.bfloat16 else 2e-3
    torch.testing.assert_close(grad[0, 0, :3].double(), wanted_grad[0, 0, :3], rtol=rtol, atol=1e-9)
    torch.testing.assert_close(grad.double(), wanted_grad, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("a", [1e-18, 1e-15, 1e-12, 1e-8, 1e-3, 10.0])
@pytest.mark.parametrize("num_codes", [1, 6, 1001])
def test_the_sum_of_logarithms_is_that_of_each_code(a, num_codes):
    f = torch.zeros(3, num_codes)
    f[0, 0], f[1] = 1.0, 1 / num_codes  # sure, even, and nothing at all
    offset = torch.full((3,), a, dtype=torch.float64)
    wanted = (f.double() + a).log().sum(dim=-1)
    torch.testing.assert_close(_sum_of_logs(f, offset), wanted, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("log2_doubt", [-20, -27, -31])
def test_the_kl_keeps_its_digits_where_f_is_all_but_sure_of_a_wrong_code(log2_doubt):
    # Replacement is rarer than the doubt 1 − f, whose digits are then the loss's: it must not
    # come out of a subtraction from 1. Code 0 is right, 1 is seen, and 2 has all of the doubt.
    chain = (3, 5, 1 - 1e-12, 1e-12)
    logits = torch.tensor([[[-200.0, 0.0, log2_doubt * math.log(2)]]], dtype=torch.float64)
    odds = (math.exp(-200), 1.0, 2.0**log2_doubt)
    k_start, k_s = torch.tensor([[0]]), torch.tensor([[1]])
    for step in (2, 3, 4):
        loss = diffusion_loss(OccludeReplaceSchedule(*chain), logits, k_start, k_s, step)
        wanted = kl_in_60_digits(chain, odds, 0, 1, step)
        assert loss.vlb.item() == pytest.approx(wanted, abs=1e-10), step


@chains
def test_the_gradient_agrees_with_finite_differences(chain):
    schedule, (logits, *rest) = random_case(chain[0], chain[1], chain[2:], batch=3, num_tokens=2)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: diffusion_loss(schedule, x, *rest, aux_weight=0.1).loss, logits
    )


@rates
@pytest.mark.parametrize("scale", [0.0, 1.0, 200.0])
@pytest.mark.parametrize(
    ("dtype", "atol", "rtol"), [(torch.float32, 1e-6, 1e-3), (torch.bfloat16, 1e-6, 1e-2)]
)
def test_gradients_are_finite_and_close_to_float64(dtype, atol, rtol, final_rates, scale):
    schedule, (logits, *rest) = random_case(64, 100, final_rates, scale=scale)
    rounded, grads = logits.to(dtype), []
    for leaf in (rounded.double().requires_grad_(), rounded.clone().requires_grad_()):
        diffusion_loss(schedule, leaf, *rest).loss.backward()
        assert leaf.grad.isfinite().all() and leaf.grad.dtype == leaf.dtype
        grads.append(leaf.grad.double())
    assert grads[0].abs().max() > 1e-4
    torch.testing.assert_close(grads[1], grads[0], atol=atol, rtol=rtol)


@rates
def test_the_loss_has_no_gradient_along_a_shift_of_the_logits(final_rates):
    schedule, (logits, *rest) = random_case(16, 20, final_rates)
    logits.requires_grad_()
    diffusion_loss(schedule, logits, *rest).vlb.backward()
    assert logits.grad.abs().max() > 1e-4
    torch.testing.assert_close(logits.grad.sum(-1), torch.zeros(6, 9).double(), **EXACT)


def test_no_float64_and_no_extra_copy_of_the_logits_is_kept_for_the_backward_pass():
    num_codes = 500
    schedule, (logits, *rest) = random_case(num_codes, 100, DEFAULT)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        diffusion_loss(schedule, logits.float().requires_grad_(), *rest)
    dense = {t.data_ptr(): t for t in kept if t.numel() == logits.numel()}
    assert len(dense) == 1
    assert all(t.dtype == torch.float32 for t in dense.values())


@pytest.mark.parametrize("final_rates", [DEFAULT, OCCLUDE_ONLY], ids=str)
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_code_ruled_out_for_a_hidden_token_is_as_good_as_a_very_unlikely_one(
    final_rates, step, dtype
):
    # -inf at any code but the right one, the last included: no code of Occ is the one seen.
    schedule = OccludeReplaceSchedule(4, 4, *final_rates)
    k_start, k_s = torch.tensor([[1, 1]]), torch.tensor([[4, 1]])
    for code in (0, 2, 3):
        results = []
        for ruled_out in (-math.inf, -1e4):
            logits = random_logits(1, 2, 4, dtype=dtype)
            logits[0, 0, code] = ruled_out
            results.append(loss_and_gradient(schedule, logits, k_start, k_s, step))
        (loss, grad), (wanted, wanted_grad) = results
        for name in ("loss", "vlb", "aux"):
            torch.testing.assert_close(getattr(loss, name), getattr(wanted, name), msg=name)
        torch.testing.assert_close(grad, wanted_grad)


def test_the_bound_takes_a_code_that_is_ruled_out_whichever_it_is():
    schedule, k_start = OccludeReplaceSchedule(4, 4, *OCCLUDE_ONLY), torch.tensor([[1, 1]])
    for code in (0, 2, 3):
        bounds = []
        for ruled_out in (-math.inf, -1e4):
            logits = random_logits(1, 2, 4)
            logits[..., code] = ruled_out
            bounds.append(elbo(lambda *_, y=logits: y, schedule, None, k_start, seeded()).terms)
        torch.testing.assert_close(*bounds)
        assert bounds[0].sum() > 0


@pytest.mark.parametrize("k_s", [[[4, 1]], [[1, 4]]], ids=["hidden", "seen"])
def test_the_right_code_ruled_out_is_refused(k_s):
    schedule, logits = OccludeReplaceSchedule(4, 4), torch.zeros(1, 2, 4)
    logits[0, 0, 1] = -math.inf
    with pytest.raises(ValueError, match="`k_start_logits` must be finite; got NaN or infinity"):
        diffusion_loss(schedule, logits, torch.tensor([[1, 1]]), torch.tensor(k_s), 2)


# The full bound


@rates
def test_elbo_of_an_exact_one_token_denoiser_is_the_entropy_it_must_be(final_rates):
    # With f the exact q(k_0 | k_s) of a known law, every reverse step is the data's own, and the
    # expected bound is the law's entropy. Averaged over the law and over many draws.
    schedule = OccludeReplaceSchedule(3, 4, *final_rates)
    law = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    k_start = torch.multinomial(law, 40_000, replacement=True, generator=seeded())[:, None]
    bound = elbo(exact_denoiser(schedule, law), schedule, None, k_start, seeded(1))
    entropy = -(law * law.log()).sum()
    spread = bound.nats.std() / math.sqrt(len(bound.nats))
    assert abs(bound.nats.mean() - entropy) < 4 * spread
    assert spread < 0.02


def exact_denoiser(schedule, law):
    """Logits of q(k_0 | k_s) for single tokens whose clean code follows `law`."""

    def denoiser(k_s, step, condition):
        return perfect_denoiser(schedule, law, int(step[0]))[k_s].clamp_min(1e-300).log()

    return denoiser


def test_elbo_adds_its_terms_the_prior_and_all_tokens():
    schedule = OccludeReplaceSchedule(3, 4)
    k_start = torch.randint(3, (2, 5), generator=seeded())
    logits = random_logits(2, 5, 3)
    seen = []

    def denoiser(k_s, step, condition):
        seen.append((k_s, step, condition))
        return logits

    bound = elbo(denoiser, schedule, "y", k_start, seeded(1))
    assert [step.tolist() for _, step, _ in seen] == [[s, s] for s in (1, 2, 3, 4)]
    assert {condition for _, _, condition in seen} == {"y"}
    assert bound.terms.shape == (2, 4) and bound.terms.dtype == torch.float64
    f = logits.softmax(-1)
    for b in range(2):
        for column, (k_s, step, _) in enumerate(seen):
            tokens = zip(f[b], k_s[b], k_start[b], strict=True)
            expected = sum(kl_nats(schedule, f, int(step[b]))[k_s, k_0] for f, k_s, k_0 in tokens)
            torch.testing.assert_close(bound.terms[b, column], expected, **EXACT)
    assert torch.equal(bound.prior, torch.zeros(2).double())
    torch.testing.assert_close(bound.nats, bound.terms.sum(1), **EXACT)
    torch.testing.assert_close(bound.bits * math.log(2), bound.nats, **EXACT)


def test_a_chain_cut_off_before_it_has_forgotten_pays_for_the_prior():
    # Every whole chain ends in the stationary law, at no cost. Of this one only the first half
    # is left: its last step keeps a code with 1/2 and the law that it starts from is as before.
    schedule = OccludeReplaceSchedule(3, 8)
    schedule.num_steps = 4
    for name in ("alpha", "beta", "gamma", "alpha_bar", "beta_bar", "gamma_bar"):
        setattr(schedule, name, getattr(schedule, name)[:5])
    k_start = torch.randint(3, (6, 5), generator=seeded())
    bound = elbo(lambda *_: random_logits(6, 5, 3), schedule, None, k_start, seeded(1))
    ends = [0.5 + 0.05 / 3, 0.05 / 3, 0.05 / 3, 0.45]  # the clean code, the other two, Occ
    start = [0.1 / 3, 0.1 / 3, 0.1 / 3, 0.9]
    token = sum(q * math.log(q / p) for q, p in zip(ends, start, strict=True))
    assert token > 1
    wanted = torch.full((6,), 5 * token, dtype=torch.float64)
    torch.testing.assert_close(bound.prior, wanted, **EXACT)
    torch.testing.assert_close(bound.nats, bound.prior + bound.terms.sum(1), **EXACT)
    assert bound.terms.shape == (6, 4)


# Refusals


def test_the_loss_refuses_bad_arguments():
    schedule = OccludeReplaceSchedule(3, 4)
    logits, k_start, k_s = torch.zeros(1, 2, 3), torch.tensor([[0, 1]]), torch.tensor([[3, 1]])
    with pytest.raises(ValueError, match=r"`k_start_logits` must have shape \(1, 2, 3\)"):
        diffusion_loss(schedule, torch.zeros(1, 2, 4), k_start, k_s, 2)
    with pytest.raises(ValueError, match="`k_start_logits` must be floating point; got"):
        diffusion_loss(schedule, logits.long(), k_start, k_s, 2)
    for bad in (float("nan"), float("inf")):
        spoiled = logits.clone()
        spoiled[0, 1, 2] = bad
        with pytest.raises(ValueError, match="`k_start_logits` must be finite; got NaN"):
            diffusion_loss(schedule, spoiled, k_start, k_s, 2)
    with pytest.raises(ValueError, match=r"`k_s` must lie in \[0, 3\]; got 4"):
        diffusion_loss(schedule, logits, k_start, k_s + 1, 2)
    with pytest.raises(ValueError, match=r"`k_start` must lie in \[0, 2\]; got 3"):
        diffusion_loss(schedule, logits, k_s, k_s, 2)
    with pytest.raises(ValueError, match=r"`step` must lie in \[1, 4\]; got 0"):
        diffusion_loss(schedule, logits, k_start, k_s, torch.tensor([0]))
    with pytest.raises(ValueError, match=r"`k_start` must have the shape of `k_s`"):
        diffusion_loss(schedule, logits, k_start[:, :1], k_s, 2)
    with pytest.raises(TypeError, match="`k_start_logits` must be a torch.Tensor; got list"):
        diffusion_loss(schedule, logits.tolist(), k_start, k_s, 2)


def test_the_loss_refuses_a_pair_that_the_chain_cannot_produce():
    schedule = OccludeReplaceSchedule(3, 4, *OCCLUDE_ONLY)
    with pytest.raises(ValueError, match="`k_s` must be reachable from `k_start` = 0 at step 2"):
        diffusion_loss(schedule, torch.zeros(1, 1, 3), torch.tensor([[0]]), torch.tensor([[1]]), 2)


@pytest.mark.parametrize("weight", [-1e-4, float("nan"), float("inf"), "0.1", None])
def test_the_loss_refuses_a_bad_weight(weight):
    schedule = OccludeReplaceSchedule(3, 4)
    k_start = torch.tensor([[0]])
    with pytest.raises(ValueError, match="`aux_weight` must be a number ≥ 0; got"):
        diffusion_loss(schedule, torch.zeros(1, 1, 3), k_start, k_start, 2, aux_weight=weight)


@pytest.mark.parametrize("name", ["aux_weight", "weight"])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [([1.0, 1.0], r"must have shape \(1,\); got \(2,\)"), ([-0.5], "must be ≥ 0; got -0.5")],
)
def test_the_loss_refuses_bad_weights_of_poses(name, value, sentence):
    schedule = OccludeReplaceSchedule(3, 4)
    k_start = torch.tensor([[0]])
    given = {name: torch.tensor(value)}
    with pytest.raises(ValueError, match=f"`{name}` {sentence}"):
        diffusion_loss(schedule, torch.zeros(1, 1, 3), k_start, k_start, 2, **given)


def test_elbo_refuses_wrong_logits_and_generators():
    schedule = OccludeReplaceSchedule(3, 4)
    k_start = torch.tensor([[0]])
    name = r"`denoiser\(k_s, step, condition\)`"
    with pytest.raises(ValueError, match=rf"{name} must have shape \(1, 1, 3\)"):
        elbo(lambda *_: torch.zeros(1, 1, 4), schedule, None, k_start, seeded())
    with pytest.raises(ValueError, match=f"{name} must be finite; got NaN"):
        elbo(lambda *_: torch.full((1, 1, 3), math.nan), schedule, None, k_start, seeded())
    with pytest.raises(ValueError, match="`generator` must be a torch.Generator, .*; got int"):
        elbo(lambda *_: torch.zeros(1, 1, 3), schedule, None, k_start, 0)


# Sizes beyond explicit matrices


@pytest.mark.parametrize("final_rates", [(0.9, 0.1), (0.5, 0.5), (0.05, 0.95)], ids=str)
def test_the_loss_and_its_gradient_are_those_of_the_equation(final_rates):
    schedule, (logits, *rest) = random_case(37, 20, final_rates, batch=64, scale=3.0)
    logits.requires_grad_()
    results = [
        function(schedule, logits, *rest, 0.1) for function in (diffusion_loss, equation_loss)
    ]
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, **EXACT)
    (got,), (wanted,) = (torch.autograd.grad(result.loss, logits) for result in results)
    torch.testing.assert_close(got, wanted, atol=1e-13, rtol=1e-9)


def test_rows_that_fill_several_blocks_give_what_each_gives_alone():
    schedule = OccludeReplaceSchedule(4375, 10)
    generator = torch.Generator().manual_seed(4)
    batch, tokens = 6, 50  # 300 rows, blocks of 239
    k_start = torch.randint(4375, (batch, tokens), generator=generator)
    step = torch.randint(1, 11, (batch,), generator=generator)
    k_s = q_sample(schedule, k_start, step, generator)
    logits = torch.randn(batch, tokens, 4375, generator=generator, requires_grad=True)
    whole = diffusion_loss(schedule, logits, k_start, k_s, step)
    (grad,) = torch.autograd.grad(whole.loss, logits)
    for row in range(batch):
        one = slice(row, row + 1)
        alone = diffusion_loss(schedule, logits[one], k_start[one], k_s[one], step[one])
        torch.testing.assert_close(alone.vlb, whole.vlb_per_sample[row], rtol=1e-6, atol=0)
        (own,) = torch.autograd.grad(alone.loss / batch, logits)
        torch.testing.assert_close(own[one], grad[one], rtol=1e-5, atol=1e-12)
