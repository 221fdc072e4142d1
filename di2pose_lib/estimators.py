"""From a distribution over tokens to a pose: each way to come to one, by its name.

The paper does not say how one pose comes out; each of these is named wherever it is used.
"""

import torch

from di2pose_lib.checks import require
from di2pose_lib.metrics import mpjpe_mm
from di2pose_lib.sampler import sample_with_probs
from di2pose_lib.seeding import generator_for

MOST_LOGITS = 2**26  # at once, of all samples: bounds the memory to about a gigabyte

ONE_SAMPLE = "one sample"
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
        num_inference_steps: reverse steps.
    """

    def __init__(self, denoiser, schedule, tokenizer, num_inference_steps):
        self.denoiser, self.schedule, self.tokenizer = denoiser, schedule, tokenizer
        self.num_inference_steps = num_inference_steps

    @torch.no_grad()
    def hypotheses(self, features, num_hypotheses, generator):
        """Poses float32 (B, H, J, 3), metres, one for each of H samples of the tokens.

        Also the first hypothesis decoded from the arg-max of its last step, (B, J, 3).

        Hypothesis h of an image depends on the image's seed and on h alone: not on H, nor
        on the images beside it (but for ties in floating point). Memory is bounded.

        Args:
            features: float (B, tokens, width).
            num_hypotheses: H ≥ 1.
            generator: torch.Generator that draws the images' seeds, or a list of B seeds.
        """
        require(num_hypotheses >= 1, f"`num_hypotheses` must be at least 1; got {num_hypotheses}")
        if isinstance(generator, torch.Generator):
            generator = torch.randint(2**62, (len(features),), generator=generator).tolist()
        got = len(generator)
        require(got == len(features), f"`generator` must hold {len(features)} seeds; got {got}")
        tokens, codes = self.tokenizer.config.num_tokens, self.schedule.num_codes
        images_at_once = max(1, MOST_LOGITS // (num_hypotheses * tokens * codes))
        parts = []
        for first in range(0, len(features), images_at_once):
            some = slice(first, first + images_at_once)
            parts.append(self._draw(features[some], num_hypotheses, generator[some]))
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _draw(self, features, num_hypotheses, seeds):
        rows = [generator_for(s, "hypothesis", h) for s in seeds for h in range(num_hypotheses)]
        drawn = sample_with_probs(
            self.denoiser,
            self.schedule,
            self.denoiser.condition_memory(features),
            self.tokenizer.config.num_tokens,
            self.num_inference_steps,
            rows,
            batch_size=len(rows),
            device=features.device,
        )
        each = (len(features), num_hypotheses)
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
        batch = len(features)
        tokens = self.tokenizer.config.num_tokens
        occluded = torch.full((batch, tokens), self.schedule.num_codes, device=features.device)
        step = torch.full((batch,), self.schedule.num_steps, device=features.device)
        return self.tokenizer.soft_decode(self.denoiser(occluded, step, features).softmax(dim=-1))

    def estimates(self, features, pose, num_hypotheses, generator):
        """{estimator: pose (B, J, 3)} for image features (B, tokens, width).

        `pose` (B, J, 3) serves the upper bound "best of samples" alone.
        """
        poses, argmax = self.hypotheses(features, num_hypotheses, generator)
        batch = len(poses)
        errors = mpjpe_mm(poses.flatten(0, 1), pose.repeat_interleave(num_hypotheses, dim=0))
        best = errors.unflatten(0, (batch, num_hypotheses)).argmin(dim=1)
        found = {ONE_SAMPLE: poses[:, 0], ARGMAX: argmax, MEAN: poses.mean(dim=1)}
        if self.schedule.final_occlude_rate > 0:  # else it is not trained for that
            found[SOFT] = self.soft_decode(features)
        found[BEST] = poses[torch.arange(batch, device=poses.device), best]
        return found
