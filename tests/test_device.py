"""On a GPU nothing mixes with the CPU, and little waits: shown with a fake one (`fake_cuda`)."""

from pathlib import Path

import pytest
import torch
from fake_cuda import CUDA, FakeCuda
from small import make_split
from torch import nn

from di2pose_lib.base import training
from di2pose_lib.base.config_file import config_from_dict, load_config, to_dict
from di2pose_lib.base.devices import default_device
from di2pose_lib.base.project import Pipeline
from di2pose_lib.data.dataset import SPLITS
from di2pose_lib.diffusion import OccludeReplaceSchedule, loss_kernel, q_sample
from di2pose_lib.diffusion import training as diffusion_training
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.diffusion.inpainting import inpaint
from di2pose_lib.diffusion.losses import diffusion_loss, elbo
from di2pose_lib.diffusion.sampler import sample
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation.stage import evaluated, pose_model

SMOKE = Path(__file__).resolve().parents[1] / "pipelines" / "smoke.yaml"
CODES, TOKENS, STEPS = 30, 5, 8
SCHEDULE = OccludeReplaceSchedule(CODES, STEPS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# What the fake refuses: without this the tests below could not fail


def test_the_fake_refuses_what_a_gpu_refuses_and_counts_what_waits():
    with FakeCuda() as fake:
        here, there = torch.ones(2, 3), torch.ones(2, 3, device="cuda")
        assert there.device == CUDA and there.is_cuda and here.device.type == "cpu"
        assert {(2 * there[0]).device, there.half().device, there.sum().device} == {CUDA}
        assert (there * torch.tensor(2.0)).device == CUDA  # a number, from anywhere
        for mixed in (
            lambda: there + here,
            lambda: torch.where(here > 0, there, there),
            lambda: torch.cat([here, there]),
            lambda: nn.functional.linear(here, there),
            lambda: nn.Linear(3, 2)(there),
        ):
            with pytest.raises(RuntimeError, match="tensors to be on the same device"):
                mixed()
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
            torch.rand(2, generator=seeded(), device="cuda")
        with pytest.raises(RuntimeError, match="may be read too early"):
            there.to("cpu", non_blocking=True)
        leaf = there.clone().requires_grad_()
        (leaf.cpu() * here).square().sum().backward()  # through the CPU and back
        assert leaf.grad.device == CUDA
        assert torch.equal(leaf.grad.cpu(), 2 * here)
        for waits, run in [
            (1, lambda: there.sum().item()),
            (1, lambda: bool((there > 0).all())),
            (1, lambda: there.tolist()),
            (1, lambda: there[there > 0]),
            (1, lambda: there.nonzero()),
            (1, lambda: here.to("cuda")),
            (0, lambda: here.to("cuda", non_blocking=True)),
            (0, lambda: (there @ there.T).relu_()),
        ]:
            with fake.counted():
                run()
            assert len(fake.waits) == waits, fake.waits
        with fake.counted():
            (there.T[0].view(2, 1) + 1).exp_()
        assert fake.kernels == 2


# The pipeline


class Recorder(Pipeline):
    """A pipeline whose images stand there already."""

    def content(self, stage):
        return "images" if stage == "data_preparation" else super().content(stage)


def tiny(precision):
    """Scale smoke, as small as it gets."""
    values = to_dict(load_config(SMOKE))
    values["data"].update(image_height=16, image_width=16)
    values["encoder"].update(width=8, layers=1, heads=2)
    values["tokenizer"]["sizes"].update(num_tokens=6, levels=[3, 3], width=8, decoder_width=8)
    values["diffusion"].update(num_steps=6, width=8, layers=1, heads=2, precision=precision)
    for section in ("encoder", "tokenizer", "diffusion"):
        values[section]["optimizer"].update(
            epochs=1.0, batch_size=4, warmup_steps=1, checkpoint_every=2, ema_decay=0.9
        )
    values["evaluation"].update(num_hypotheses=2, num_inference_steps=3, batch_size=3)
    return config_from_dict(values, source="test")


@pytest.fixture
def data(tmp_path):
    generator = seeded()
    found = {}
    for split, count in zip(SPLITS, (12, 5, 5, 5), strict=True):
        image = torch.randint(256, (count, 3, 16, 16), generator=generator).to(torch.uint8)
        joints = 16 * torch.rand(count, 17, 2, generator=generator)
        rotation = torch.eye(3).expand(count, 3, 3).clone()
        given = {"image": image, "joints_2d": joints, "camera_rotation": rotation}
        found[split] = make_split(tmp_path / split, count, size=(16, 16), **given)
    return found


@pytest.fixture
def run(tmp_path, data, monkeypatch):
    """`run(name, precision)`: (predictions, inpainted poses) of a pipeline trained there."""
    for room in ("encoder", "tokens", "diffusion", "evaluation"):
        name = f"di2pose_lib.{room}.stage.prepared_data"
        monkeypatch.setattr(name, lambda pipeline: data)

    def kinds_of_products(network, call):
        kinds = set()
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        hooks = [
            layer.register_forward_hook(lambda *given: kinds.add(given[-1].dtype))
            for layer in layers
        ]
        result = call()
        for hook in hooks:
            hook.remove()
        return result, kinds

    def all_stages(name, precision):
        pipeline = Recorder(tiny(precision), tmp_path / name)
        predictions, _ = evaluated(pipeline)
        model, encoder = pose_model(pipeline), trained_encoder(pipeline).model
        features, kinds = kinds_of_products(
            encoder, lambda: encode_images(encoder, data["test"], slice(0, 2))
        )
        assert kinds == {getattr(torch, precision)}
        _, kinds = kinds_of_products(model.denoiser, lambda: model.hypotheses(features, 1, [1, 2]))
        assert kinds == {getattr(torch, precision)}
        known = torch.zeros(2, 17, dtype=torch.bool)
        known[:, 3] = True
        pose = data["test"].take("pose", slice(0, 2))
        inpainted = inpaint(model, features, pose, known, [1, 2], num_hypotheses=2, rounds=1)
        assert features.device.type == inpainted.device.type == default_device().type
        assert features.dtype == torch.float32
        return predictions, inpainted.cpu()

    return all_stages


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_pipeline_runs_on_a_gpu_and_gives_what_the_cpu_gives(run, precision, monkeypatch):
    monkeypatch.setattr(diffusion_training, "compile_blocks", lambda denoiser: None)
    predictions, inpainted = run("cpu", precision)
    with FakeCuda():
        same, also = run("gpu", precision)
    assert torch.equal(inpainted, also)
    for occlusion, found in predictions.items():
        for one, other in zip(found, same[occlusion], strict=True):
            assert one[:2] == other[:2]
            assert torch.equal(one.pose, other.pose), one[:2]


def test_a_training_on_a_gpu_continues_from_its_checkpoint(tmp_path):
    from small import optimizer

    def train(folder, stop_at=None):
        torch.manual_seed(0)
        model = nn.Linear(6, 6).to(default_device())

        def loss_function(rows, generator):
            x = torch.randn(len(rows), 6, generator=generator).to(default_device())
            return (model(x) - x).square().mean(), {"extra": torch.tensor(2.0)}

        config = optimizer(epochs=3.0, batch_size=4, ema_decay=0.9)
        arguments = ("toy", model, loss_function, 8, config, 0, folder)
        return model, training.fit(*arguments, stop_at=stop_at)

    whole, history = train(tmp_path / "cpu")
    with FakeCuda() as fake:
        train(tmp_path / "gpu", stop_at=3)
        resumed, same = train(tmp_path / "gpu")
        assert resumed.weight.device == CUDA
        assert torch.equal(resumed.weight.cpu(), whole.weight) and same == history
        with fake.counted():
            train(tmp_path / "other", stop_at=1)
    # The weights and the batch; torch's clipping, to which C++ gives away that this is no GPU; the
    # value that is on the CPU; and all numbers together.
    assert fake.waits == 3 * ["to the GPU"] + ["to the CPU", "to the GPU", "tolist"]


# What waits, and how many kernels start


def noised(batch=4):
    """(logits, k_start, k_s, step) on the CPU."""
    generator = seeded(1)
    k_start = torch.randint(CODES, (batch, TOKENS), generator=generator)
    step = torch.randint(1, STEPS + 1, (batch,), generator=generator)
    k_s = q_sample(SCHEDULE, k_start, step, generator)
    return torch.randn(batch, TOKENS, CODES, generator=generator), k_start, k_s, step


@pytest.mark.parametrize("weights", [{}, {"aux_weight": torch.ones(4), "weight": torch.ones(4)}])
def test_the_loss_waits_for_a_gpu_once_and_starts_few_kernels(weights):
    # Cross entropy starts 2 and 2. Of ours each is of (B, N) numbers but for some ten; in blocks of
    # a CPU's cache and with the chain's factors on the GPU there were 606 and 522.
    logits, *chain = noised()
    there = logits.clone().requires_grad_()
    wanted = diffusion_loss(SCHEDULE, there, *chain, **weights)
    wanted.loss.backward()
    with FakeCuda() as fake:
        here = logits.to("cuda").requires_grad_()
        with fake.counted():
            loss = diffusion_loss(SCHEDULE, here, *chain, **weights).loss
            forward = fake.kernels
            loss.backward()
        assert loss.device == here.grad.device == CUDA
        assert len(fake.waits) == 1, fake.waits
        assert forward <= 120 and fake.kernels - forward <= 110
        assert torch.equal(loss.cpu(), wanted.loss) and torch.equal(here.grad.cpu(), there.grad)


def test_the_paper_s_batch_is_one_block_on_a_gpu_and_a_larger_one_is_bounded():
    def blocks(batch, device):
        return len(loss_kernel._blocks(torch.empty(batch * 100, 4375, device=device)))

    assert blocks(64, "meta") == 1
    assert blocks(640, "meta") == 5
    assert loss_kernel._height(torch.empty(6400, 4375)) * 4375 <= 2**20


def small_denoiser():
    torch.manual_seed(0)
    sizes = {"num_codes": CODES, "num_tokens": TOKENS, "num_steps": STEPS}
    sizes |= {"condition_tokens": 2, "condition_width": 4, "width": 8, "layers": 1, "heads": 2}
    return Denoiser(DenoiserConfig(**sizes)).eval()


def test_the_denoiser_waits_for_no_gpu_and_still_refuses_shapes_there():
    _, _, k_s, step = noised()
    with FakeCuda() as fake:
        denoiser, features = small_denoiser().to("cuda"), torch.randn(4, 2, 4, device="cuda")
        k_s, step = k_s.to("cuda"), step.to("cuda")
        for condition in (features, denoiser.condition_memory(features)):
            with fake.counted():
                denoiser(k_s, step, condition)
            assert fake.waits == []
        with pytest.raises(ValueError, match=r"`k_s` must have shape \(B, 5\)"):
            denoiser(k_s[:, :2], step, features)
        with pytest.raises(ValueError, match="`condition` must be finite; got NaN"):
            denoiser.condition_memory(features * float("nan"))


OPTIONS = [{}, {"order": "confidence"}, {"known": torch.tensor([[3, -1, -1, 0, -1]] * 4)}]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "confidence", "known"])
def test_a_reverse_step_waits_for_a_gpu_twice(options):
    features = torch.randn(4, 2, 4, generator=seeded(2))
    generators = [seeded(seed) for seed in range(4)]

    def draw(count, where):
        denoiser, condition = small_denoiser().to(where), features.to(where)
        rows = [seeded(seed) for seed in range(4)]
        return sample(denoiser, SCHEDULE, condition, TOKENS, count, rows, **options)

    wanted = draw(5, "cpu")
    waits = []
    with FakeCuda() as fake:
        for count in (3, 5):
            with fake.counted():
                tokens = draw(count, "cuda")
            waits.append(len(fake.waits))
        assert tokens.device == CUDA
        assert torch.equal(tokens.cpu(), wanted)
        bad = torch.full((4, TOKENS), CODES)
        for known in (bad, bad.to("cuda")):
            with pytest.raises(ValueError, match=r"`known` must lie in \[-1, 29\]; got 30"):
                sample(small_denoiser, SCHEDULE, features, TOKENS, 3, generators, known=known)
    assert waits[1] - waits[0] == 2 * (3 if "order" in options else 2)


def test_the_loss_and_the_bound_refuse_wrong_tokens_on_a_gpu_too():
    logits, k_start, k_s, step = noised()
    with FakeCuda():
        where = logits.to("cuda")
        for move in (lambda tokens: tokens, lambda tokens: tokens.to("cuda")):
            with pytest.raises(ValueError, match=r"`k_s` must lie in \[0, 30\]; got 31"):
                diffusion_loss(SCHEDULE, where, move(k_start), move(k_s + 31 - k_s), step)
            with pytest.raises(ValueError, match=r"`step` must lie in \[1, 8\]; got 9"):
                diffusion_loss(SCHEDULE, where, move(k_start), move(k_s), move(step + 9 - step))
        with pytest.raises(ValueError, match="`k_start_logits` must be finite"):
            diffusion_loss(SCHEDULE, where * float("nan"), k_start, k_s, step)
        tokens = k_start.to("cuda")
        bound = elbo(lambda *_: where, SCHEDULE, None, tokens, seeded())
        assert bound.nats.device == CUDA
        with pytest.raises(ValueError, match=r"`k_start` must lie in \[0, 29\]; got 30"):
            elbo(lambda *_: where, SCHEDULE, None, tokens + 30 - tokens, seeded())
