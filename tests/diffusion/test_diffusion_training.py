"""Training the denoiser: what it is shown, what it learns, what is reported of it."""

import math
from types import SimpleNamespace

import pytest
import torch
from small import optimizer
from torch import nn

from di2pose_lib.diffusion import OccludeReplaceSchedule
from di2pose_lib.diffusion import training as diffusion_training
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.diffusion.training import (
    DECAY,
    DRAWS_BEFORE,
    StepDraws,
    compile_blocks,
    make_denoiser,
    make_schedule,
    train_denoiser,
)
from di2pose_lib.tokens.fsq import FSQ

CODES, TOKENS, STEPS = 6, 3, 5
OCCLUDE_ONLY = OccludeReplaceSchedule(CODES, STEPS, 1.0, 0.0)
TRAINING = torch.randint(CODES, (40, TOKENS), generator=torch.Generator().manual_seed(0))


def settings(
    aux_weight=0.25, precision="float32", step_draws="uniform", aux_by_step="constant", **changes
):
    return SimpleNamespace(
        aux_weight=aux_weight,
        precision=precision,
        step_draws=step_draws,
        aux_by_step=aux_by_step,
        optimizer=optimizer(**changes),
    )


def features_of(tokens):
    """`rows -> features` (B, 1, 2 + N C): 1, the row's number / 1000, and the answer, one-hot."""

    def features(rows):
        answer = nn.functional.one_hot(tokens[rows], CODES).flatten(1).float()
        number = torch.arange(len(tokens))[rows].float()[:, None] / 1000
        return torch.cat([torch.ones_like(number), number, answer], dim=1)[:, None]

    return features


class Guesser(nn.Module):
    """Logits that depend on the features alone, linearly; notes what it is called with."""

    def __init__(self, start=0.0):
        super().__init__()
        self.answer = nn.Linear(TOKENS * CODES, TOKENS * CODES, bias=False)
        with torch.no_grad():
            self.answer.weight.copy_(start * torch.eye(TOKENS * CODES))
        self.calls, self.memories = [], []

    def condition_memory(self, condition):
        self.memories.append(rows_of(condition))
        return (condition,)

    def forward(self, k_s, step, condition):
        if isinstance(condition, tuple):
            (condition,) = condition
        logits = self.answer(condition[:, 0, 2:])
        self.calls.append(SimpleNamespace(k_s=k_s, step=step, rows=rows_of(condition), y=logits))
        return logits.unflatten(1, (TOKENS, CODES))


def rows_of(features):
    return (1000 * features[:, 0, 1]).round().long()


def trained(denoiser, folder, config, schedule=OCCLUDE_ONLY, validation=TRAINING[:7], seed=0):
    """(history, report, the calls during training)."""
    history, report = train_denoiser(
        denoiser,
        schedule,
        TRAINING,
        features_of(TRAINING),
        (validation, features_of(validation)),
        config,
        seed,
        folder,
    )
    count = history[-1]["step"]
    return history, report, denoiser.calls[:count]


# --- what the denoiser is shown


def test_every_pose_has_a_step_of_its_own_from_all_of_1_to_s(tmp_path):
    config = settings(epochs=50.0, batch_size=40)
    _, _, calls = trained(Guesser(), tmp_path, config)
    assert all(call.step.shape == (40,) and call.step.dtype == torch.int64 for call in calls)
    assert all(len(call.step.unique()) > 1 for call in calls)
    shares = torch.bincount(torch.cat([call.step for call in calls])) / 2000
    assert len(shares) == STEPS + 1
    assert shares.tolist() == pytest.approx([0.0] + [1 / STEPS] * STEPS, abs=0.03)


def test_tokens_are_noised_as_their_step_says_and_stand_with_their_own_image(tmp_path):
    _, _, calls = trained(Guesser(), tmp_path, settings(epochs=50.0))
    step, rows, k_s = (
        torch.cat([getattr(call, name) for call in calls]) for name in ("step", "rows", "k_s")
    )
    assert set(rows.tolist()) == set(range(40))
    hidden = k_s == CODES
    # A chain that only occludes leaves what is seen as it was.
    assert torch.equal(k_s[~hidden], TRAINING[rows][~hidden])
    for s in range(1, STEPS + 1):
        share = hidden[step == s].float().mean().item()
        assert share == pytest.approx(s / STEPS, abs=0.05), s


def test_the_loss_is_the_bound_and_the_auxiliary_term_by_its_weight(tmp_path):
    history, _, _ = trained(Guesser(), tmp_path, settings(aux_weight=0.25, epochs=2.0))
    assert len(history) == 10  # one row a step
    for row in history:
        assert row["loss"] == pytest.approx(row["vlb"] + 0.25 * row["aux"], rel=1e-5)
    assert history[0]["aux"] == pytest.approx(math.log(CODES), rel=1e-5)  # knows nothing yet


def test_a_falling_lambda_is_twice_as_large_at_the_start_of_the_chain(tmp_path):
    config = settings(aux_weight=0.25, aux_by_step="falling", epochs=2.0, batch_size=40)
    history, _, calls = trained(Guesser(), tmp_path, config)
    row, call = history[0], calls[0]  # every token is guessed evenly: aux is the same for all
    factor = (2 - call.step.double() / STEPS).mean().item()
    assert row["loss"] == pytest.approx(row["vlb"] + 0.25 * factor * row["aux"], rel=1e-5)


def test_importance_draws_steps_by_its_law_weighs_the_loss_and_repeats(tmp_path, monkeypatch):
    law = torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1], dtype=torch.float64)
    noted, update = [], StepDraws.update
    monkeypatch.setattr(StepDraws, "probs", lambda draws: law)
    monkeypatch.setattr(
        StepDraws, "update", lambda draws, *given: (noted.append(given), update(draws, *given))
    )
    config = settings(step_draws="importance", epochs=50.0, batch_size=40)
    history, report, calls = trained(Guesser(), tmp_path / "a", config)
    steps = torch.cat([call.step for call in calls])
    shares = torch.bincount(steps, minlength=STEPS + 1)[1:] / len(steps)
    torch.testing.assert_close(shares.double(), law, atol=0.03, rtol=0)
    assert torch.equal(torch.cat([step for step, _ in noted]), steps)
    # the first row is the first batch, whose losses were noted; aux is the same for all poses
    (step, vlb), row = noted[0], history[0]
    weight = 1 / (STEPS * law[step - 1])
    expected = (weight * (vlb.double() + 0.25 * row["aux"])).mean().item()
    assert row["loss"] == pytest.approx(expected, rel=1e-5)
    again, same, _ = trained(Guesser(), tmp_path / "b", config)
    assert (again, same) == (history, report)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_the_denoiser_runs_in_the_precision_that_is_asked_for(tmp_path, precision, dtype):
    config = settings(precision=precision, epochs=2.0)
    history, _, calls = trained(Guesser(), tmp_path, config)
    assert all(call.y.dtype == dtype for call in calls)
    assert math.isfinite(history[-1]["loss"])


def test_draws_depend_on_the_seed_alone(tmp_path):
    def steps(name, seed):
        calls = trained(Guesser(), tmp_path / name, settings(epochs=2.0), seed=seed)[2]
        return torch.cat([call.step for call in calls]).tolist()

    first = steps("first", 0)
    torch.manual_seed(99)
    assert steps("again", 0) == first
    assert steps("other", 1) != first


# --- what it learns


def test_training_lowers_the_loss_where_the_image_tells_the_answer(tmp_path):
    history, report, _ = trained(Guesser(), tmp_path, settings(epochs=60.0, learning_rate=0.05))
    assert history[-1]["vlb"] < 0.3 * history[0]["vlb"]
    assert history[-1]["aux"] < 0.3 * history[0]["aux"]
    assert report["validation_aux_nats"] < 0.3 * math.log(CODES)


def test_the_library_s_denoiser_learns_too_and_repeats(tmp_path):
    sizes = SimpleNamespace(num_codes=CODES, num_tokens=TOKENS)
    chain = SimpleNamespace(num_steps=STEPS, width=16, layers=1, heads=2, start_from_codes=True)
    config = SimpleNamespace(diffusion=chain, tokenizer=SimpleNamespace(sizes=sizes))
    schedule, results = OccludeReplaceSchedule(CODES, STEPS), []
    for name in ("one", "again"):
        torch.manual_seed(0)
        denoiser = make_denoiser(config, (1, 2 + TOKENS * CODES))
        history, report = train_denoiser(
            denoiser,
            schedule,
            TRAINING,
            features_of(TRAINING),
            (TRAINING[:7], features_of(TRAINING[:7])),
            settings(epochs=40.0),
            0,
            tmp_path / name,
        )
        results.append((history, report, denoiser.state_dict()))
    (history, report, weights), (*same, weights_again) = results
    assert history[-1]["vlb"] < 0.5 * history[0]["vlb"]
    assert [history, report] == same
    assert all(torch.equal(weight, weights_again[name]) for name, weight in weights.items())


# --- what is reported


@pytest.fixture
def still():
    """A training of one step that hardly moves: the start's numbers are the report's."""
    return settings(epochs=0.001, learning_rate=1e-9)


def test_the_auxiliary_term_is_the_mean_over_all_validation_tokens(tmp_path, still):
    # 11 poses in batches of 8 and 3, the last three all wrong: batches do not weigh alike.
    validation = TRAINING[:11].clone()
    features = features_of(validation)
    answers = validation.clone()
    answers[8:] = (answers[8:] + 1) % CODES
    _, report = train_denoiser(
        Guesser(start=2.0),
        OCCLUDE_ONLY,
        TRAINING,
        features_of(TRAINING),
        (answers, features),
        still,
        0,
        tmp_path,
    )
    norm = math.log(math.exp(2) + CODES - 1)
    right, wrong = norm - 2, norm
    wanted = (8 * right + 3 * wrong) / 11
    assert report["validation_aux_nats"] == pytest.approx(wanted, rel=1e-5)


def test_the_bound_of_one_who_knows_nothing_is_the_logarithm_of_the_codes(tmp_path, still):
    # Occlusion alone: each hidden token costs log C when it is uncovered, once along the chain.
    generator = torch.Generator().manual_seed(5)
    validation = torch.randint(CODES, (2000, TOKENS), generator=generator)
    _, report, _ = trained(Guesser(), tmp_path, still, validation=validation)
    nats = math.log(CODES)
    assert report["validation_aux_nats"] == pytest.approx(nats, rel=1e-5)
    assert report["validation_vlb_nats"] == pytest.approx(nats / STEPS, rel=0.05)
    bits = TOKENS * math.log2(CODES)
    assert report["validation_elbo_bits_per_pose"] == pytest.approx(bits, rel=0.12)


def test_the_full_bound_is_of_poses_spread_over_the_validation_split(tmp_path, still, monkeypatch):
    monkeypatch.setattr(diffusion_training, "ELBO_POSES", 11)
    validation = TRAINING[:31]
    denoiser = Guesser(start=30.0)  # sure of the answer that it reads off the image
    _, report, _ = trained(denoiser, tmp_path, still, validation=validation)
    assert torch.cat(denoiser.memories).tolist() == list(range(0, 31, 3))
    assert report["validation_elbo_bits_per_pose"] == pytest.approx(0.0, abs=1e-6)
    calls = denoiser.calls[-2 * STEPS :]  # 11 poses in batches of 8 and 3, S calls each
    assert [call.step.unique().tolist() for call in calls] == 2 * [[s] for s in range(1, STEPS + 1)]
    assert [len(call.step) for call in calls] == [8] * STEPS + [3] * STEPS


def test_a_validation_split_smaller_than_that_is_bounded_whole(tmp_path, still):
    denoiser = Guesser()
    trained(denoiser, tmp_path, still, validation=TRAINING[:7])
    assert torch.cat(denoiser.memories).tolist() == list(range(7))


def test_the_report_leaves_no_gradient_and_a_denoiser_that_is_done(tmp_path, still):
    denoiser = Guesser()
    _, report, calls = trained(denoiser, tmp_path, still)
    assert len(calls) == 1
    assert calls[0].y.requires_grad
    assert not any(call.y.requires_grad for call in denoiser.calls[1:])
    assert not denoiser.training
    assert all(type(value) is float for value in report.values())


# --- chain and network of a configuration


def whole_config(**chain):
    values = {"num_steps": 7, "final_occlude_rate": 0.8, "final_replace_rate": 0.2}
    values |= {"width": 32, "layers": 2, "heads": 4, "start_from_codes": True, **chain}
    sizes = SimpleNamespace(num_codes=12, num_tokens=TOKENS)
    return SimpleNamespace(
        diffusion=SimpleNamespace(**values), tokenizer=SimpleNamespace(sizes=sizes)
    )


def test_the_chain_is_that_of_the_parameters():
    schedule = make_schedule(whole_config())
    assert (schedule.num_codes, schedule.num_steps) == (12, 7)
    assert (schedule.final_occlude_rate, schedule.final_replace_rate) == (0.8, 0.2)


def test_the_denoiser_has_the_sizes_of_the_parameters_and_of_the_features():
    denoiser = make_denoiser(whole_config(), (5, 10))
    assert isinstance(denoiser, Denoiser)
    sizes = denoiser.config
    assert (sizes.num_codes, sizes.num_tokens, sizes.num_steps) == (12, TOKENS, 7)
    assert (sizes.condition_tokens, sizes.condition_width) == (5, 10)
    assert (sizes.width, sizes.layers, sizes.heads) == (32, 2, 4)
    k_s, step = torch.full((2, TOKENS), 12), torch.tensor([1, 7])
    assert denoiser(k_s, step, torch.zeros(2, 5, 10)).shape == (2, TOKENS, 12)


def test_the_denoiser_starts_from_the_codes_where_their_table_is_given():
    table = FSQ([3, 4]).code_table()

    def similarity(code_table, **changes):
        torch.manual_seed(0)
        config = whole_config(width=256, **changes)
        rows = make_denoiser(config, (5, 10), code_table).head.weight.detach()
        return torch.cosine_similarity(rows[0], rows[1], dim=0).item()

    assert abs(similarity(None)) < 0.25
    assert similarity(table) > similarity(None) + 0.1
    assert similarity(table, start_from_codes=False) == similarity(None)


def small_denoiser():
    torch.manual_seed(0)
    return Denoiser(
        DenoiserConfig(
            num_codes=CODES, num_tokens=TOKENS, num_steps=STEPS, condition_tokens=2,
            condition_width=4, width=16, layers=2, heads=2,
        )
    )  # fmt: skip


def test_compiled_blocks_are_one_graph_each_with_the_same_gradient_and_names(capsys):
    graphs = []

    def count(graph, example):
        graphs.append(graph)
        return graph.forward

    k_s, step, condition = TRAINING[:5], torch.arange(1, 6), torch.randn(5, 2, 4)
    plain, compiled = small_denoiser(), small_denoiser()
    compile_blocks(compiled, backend=count, fullgraph=True)
    for network in (plain, compiled):
        network(k_s, step, condition).square().mean().backward()
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)
    assert 1 <= len(graphs) <= 2 and capsys.readouterr().err == ""


def test_a_failed_compilation_is_told_once_and_the_blocks_run_as_they_are(capsys):
    def without_a_compiler(graph, example):
        raise RuntimeError("no C compiler here\nsecond line")

    k_s, step, condition = TRAINING[:5], torch.arange(1, 6), torch.randn(5, 2, 4)
    plain, failed = small_denoiser(), small_denoiser()
    compile_blocks(failed, backend=without_a_compiler)
    for _ in range(2):
        assert torch.equal(failed(k_s, step, condition), plain(k_s, step, condition))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    wanted = "torch.compile failed, the denoiser's blocks run as they are: RuntimeError: no C"
    assert told[0].startswith(wanted)


def test_validation_computes_in_the_precision_that_is_asked_for(tmp_path):
    kinds = {}
    for precision in ("float32", "bfloat16"):
        denoiser = Guesser()
        config = settings(precision=precision, epochs=0.001, learning_rate=1e-9)
        _, report, calls = trained(denoiser, tmp_path / precision, config)
        kinds[precision] = {call.y.dtype for call in denoiser.calls[1:]}
        assert all(math.isfinite(value) for value in report.values())
    assert kinds == {"float32": {torch.float32}, "bfloat16": {torch.bfloat16}}


# Steps to train at: even, or by importance, with weights that keep the mean


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def warmed(num_steps=4, losses=(1.0, 2.0, 3.0, 4.0)):
    """Importance draws that have seen every step often enough, each with its own loss."""
    draws = StepDraws(num_steps, "importance")
    steps = torch.arange(1, num_steps + 1).repeat(200)
    draws.update(steps, torch.tensor(losses, dtype=torch.float64).repeat(200))
    return draws


def test_even_draws_are_those_of_randint_and_weigh_one():
    step, weight = StepDraws(100, "uniform").draw(64, seeded())
    assert torch.equal(step, torch.randint(1, 101, (64,), generator=seeded()))
    assert (weight == 1).all()


def test_importance_begins_evenly_until_every_step_has_come_often():
    draws = StepDraws(3, "importance")
    steps = torch.tensor([1, 2, 3]).repeat(DRAWS_BEFORE)
    draws.update(steps, torch.full((len(steps),), 5.0))
    draws.update(torch.tensor([1, 2]), torch.tensor([1.0, 9.0]))
    assert draws.probs().tolist() == [1 / 3] * 3  # step 3 came ten times only
    draws.update(torch.tensor([3]), torch.tensor([5.0]))
    first, second, third = draws.probs().tolist()
    assert first == second > third


def test_a_chain_of_one_step_draws_that_one():
    draws = StepDraws(1, "importance")
    draws.update(torch.ones(20, dtype=torch.int64), torch.ones(20))
    assert draws.draw(3, seeded())[0].tolist() == [1, 1, 1]


def test_then_a_step_is_drawn_in_proportion_to_the_size_of_its_loss():
    sizes = (
        torch.tensor([2.0, 2.0, 3.0, 4.0], dtype=torch.float64) + 1e-4
    )  # the first as the second
    torch.testing.assert_close(warmed().probs(), sizes / sizes.sum(), atol=1e-6, rtol=0)


def test_averages_move_pose_by_pose_by_hand():
    draws = StepDraws(2, "importance")
    draws.update(torch.tensor([2, 1, 2]), torch.tensor([3.0, 1.0, 2.0]))
    first = (1 - DECAY) * 9
    expected = [(1 - DECAY) * 1, DECAY * first + (1 - DECAY) * 4]
    assert draws.state["squares"].tolist() == pytest.approx(expected)
    assert draws.state["draws"].tolist() == [1, 2]


def test_weights_keep_the_mean_over_even_steps():
    draws = warmed()
    step, weight = draws.draw(200_000, seeded(1))
    values = torch.tensor([5.0, -1.0, 2.0, 10.0], dtype=torch.float64)
    assert abs((weight * values[step - 1]).mean() - values.mean()) < 0.03
    assert abs(weight.mean() - 1) < 0.01
    shares = torch.bincount(step - 1, minlength=4) / len(step)
    torch.testing.assert_close(shares.double(), draws.probs(), atol=5e-3, rtol=0)


def test_draws_depend_on_the_state_and_the_generator_alone():
    one, other = warmed(), StepDraws(4, "importance")
    for name, value in one.state.items():
        other.state[name].copy_(value)
    assert torch.equal(one.draw(50, seeded(2))[0], other.draw(50, seeded(2))[0])
