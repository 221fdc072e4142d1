"""From a distribution over tokens to a pose: each way to come to one, by its name.

The paper does not say how one pose comes out; each of these is named wherever it is used.
Samples are drawn as the model's sampler is set; "one sample, Algorithm 2, 25 steps" is always
one of the chain of Eq. 9 in uniform steps, as the paper has it.
"""

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.seeding import generator_for, image_seeds
from di2pose_lib.diffusion.sampler import sample_with_probs

CHAIN_STEPS = 25  # at most, of "Algorithm 2": with 100 its errors differ little (notebook 07)

# Logits at once, and images at once: 256 MiB of logits in float32, of which a few such tensors
# live together, and the keys and values of the images, 33 MB each at the paper's sizes.
MOST_LOGITS = 2**26
MOST_IMAGES = 16

ONE_SAMPLE = "one sample"
ALGORITHM_2 = f"Algorithm 2, {CHAIN_STEPS} steps"  # ends the names of what is drawn along the
CHAIN = f"{ONE_SAMPLE}, {ALGORITHM_2}"  # chain, however the sampler is set
ARGMAX = "arg-max at the last step"
MEAN = "mean of samples"
SOFT = "soft decoding"
BEST = "best of samples (uses the answer)"


class PoseModel:
    """Image features to poses: denoiser, chain and tokenizer together.

    Args:
        denoiser: callable `(k_s, step, condition) -> logits` with `condition_memory`.
        schedule: the chain.
        tokenizer: a trained `PoseTokenizer`.
        num_inference_steps: reverse steps, as `sampler.inference_steps` takes them.
        sampling: other options of `sampler.sample_with_probs`: spacing, order, temperature …
    """

    def __init__(self, denoiser, schedule, tokenizer, num_inference_steps, **sampling):
        self.denoiser, self.schedule, self.tokenizer = denoiser, schedule, tokenizer
        self.num_inference_steps, self.sampling = num_inference_steps, sampling

    @property
    def follows_chain(self):
        """Whether its samples are draws along Eq. 9's chain: no option that leaves its law."""
        chain = {"spacing", "order"}  # either spacing is exact; "confidence" is not
        return self.sampling.keys() <= chain and self.sampling.get("order") in (None, "random")

    def along_chain(self):
        """The same networks with Algorithm 2's sampler, in at most `CHAIN_STEPS` uniform steps."""
        steps = min(CHAIN_STEPS, self.schedule.num_steps)
        return PoseModel(self.denoiser, self.schedule, self.tokenizer, steps)

    @torch.no_grad()
    def hypotheses(self, features, num_hypotheses, seeds):
        """Poses float32 (B, H, J, 3), metres, one for each of H samples of the tokens.

        Also the first hypothesis decoded from the arg-max of its last step, (B, J, 3).

        Hypothesis h of an image depends on the image's seed and on h alone: not on H, nor
        on the images beside it (but for ties in floating point). Memory is bounded, whatever
        B and H are.

        Args:
            features: float (B, tokens, width).
            num_hypotheses: H ≥ 1.
            seeds: a list of B ints, or a torch.Generator that draws them.

        Raises:
            TypeError: `features` is not a tensor.
            ValueError: features of another shape or kind, NaN or infinity; H < 1; or seeds of
                another number.
        """
        require(num_hypotheses >= 1, f"`num_hypotheses` must be at least 1; got {num_hypotheses}")
        seeds = image_seeds(seeds, _batch(features))
        rows_at_once = self._rows_at_once()
        hypotheses = torch.arange(num_hypotheses).split(rows_at_once)
        images_at_once = min(MOST_IMAGES, max(1, rows_at_once // num_hypotheses))
        poses, argmax = [], []
        for first in range(0, len(features), images_at_once):
            some = slice(first, first + images_at_once)
            memory = self.denoiser.condition_memory(features[some])
            drawn = [
                self._draw(memory, numbers.tolist(), seeds[some], features.device)
                for numbers in hypotheses
            ]
            poses.append(torch.cat([part for part, _ in drawn], dim=1))
            argmax.append(drawn[0][1])
        return torch.cat(poses), torch.cat(argmax)

    def _rows_at_once(self):
        return max(1, MOST_LOGITS // (self.tokenizer.config.num_tokens * self.schedule.num_codes))

    def _draw(self, memory, numbers, seeds, device):
        """Poses (images, H, J, 3) of the hypotheses of these numbers; the first's arg-max."""
        rows = [generator_for(seed, "hypothesis", h) for seed in seeds for h in numbers]
        drawn = sample_with_probs(
            self.denoiser,
            self.schedule,
            memory,
            self.tokenizer.config.num_tokens,
            self.num_inference_steps,
            rows,
            batch_size=len(rows),
            device=device,
            **self.sampling,
        )
        each = (len(seeds), len(numbers))
        poses = self.tokenizer.decode(drawn.tokens).unflatten(0, each)
        first = drawn.k_start_probs.unflatten(0, each)[:, 0]
        return poses, self.tokenizer.decode(first.argmax(dim=-1))

    @torch.no_grad()
    def soft_decode(self, features):
        """Pose (B, J, 3) of the codes' expectation under f(k̂_0 | k_S = Occ, y).

        With every token occluded the network's output is each token's distribution
        given the image alone. A chain that never occludes has not trained it for that:
        ValueError.
        """
        rate = self.schedule.final_occlude_rate
        require(rate > 0, f"soft decoding needs `final_occlude_rate` > 0; got {rate}")
        _batch(features)
        parts = features.split(min(MOST_IMAGES, self._rows_at_once()))
        return torch.cat([self._soft_decode(part) for part in parts])

    def _soft_decode(self, features):
        batch, where = len(features), features.device
        tokens = self.tokenizer.config.num_tokens
        occluded = torch.full((batch, tokens), self.schedule.num_codes, device=where)
        step = torch.full((batch,), self.schedule.num_steps, device=where)
        logits = self.denoiser(occluded, step, features)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return self.tokenizer.soft_decode(logits.softmax(dim=-1, dtype=dtype))


def _batch(features):
    """Refuse what are no image features; B."""
    return check_tensor("features", features, ("B", "tokens", "width"), "float")["B"]
