"""Run the protocols of occlusion: three training seeds at scale lesson, and rows of each.

`python -m studies.protocol_runs --help`. A run is one protocol on one data source with one
training seed. Its rows go into its study's block; what exists is skipped, and a run that was killed
continues. The seed of the finished pipeline is not trained again.

The attacks search from coarse to fine, against soft decoding, whose answer has no chance in it. An
agreement attacks a part of the same images with the full grid, with the same seed and so the same
draws, and says how often and by how much the coarse search missed the worst case. The sampler's
attack is one of Algorithm 2, on few images, for it takes as many calls of the network as the chain
has steps: how much of a maximum over a random sampler is luck. One seed will do for these: they
are about the search, not about the training.
"""

import sys

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import to_dict
from di2pose_lib.base.files import fingerprint, is_there, locked, read_json
from di2pose_lib.base.project import (
    LIBRARY_DIGEST,
    SOURCE_PARAMS,
    Pipeline,
    finished_pipeline,
)
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.data.textures import open_textures
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.evaluation import inpainting, protocols
from di2pose_lib.evaluation.advocc import Attack
from di2pose_lib.evaluation.advocc_rows import ADVOCC, SAMPLER, advocc_rows, agreement_rows
from di2pose_lib.evaluation.advocc_search import COARSE_TO_FINE, FULL
from di2pose_lib.evaluation.estimators import CHAIN_STEPS, SOFT
from di2pose_lib.evaluation.measure import DI2POSE
from di2pose_lib.evaluation.patch_grid import patch_grid
from di2pose_lib.evaluation.row_files import write_rows
from di2pose_lib.evaluation.stage import pose_model, tested
from di2pose_lib.evaluation.table import block_path
from studies import ablations, action_rows, blocks, growth
from studies.advocc_runs import expected_cost
from studies.advocc_runs import run as attack_images
from studies.protocol_rows import table_rows

SEEDS = (2, 3, 4)  # the pipelines' own, and the next two
OCCLUSION, GROWTH, ACTIONS, INPAINTING = "occlusion", "growth", "actions", "inpainting"
PATCHES = {"advocc 40": 40, "advocc 80": 80}
AGREEMENTS = {"agreement 40": 40, "agreement 80": 80}
SAMPLERS = {"sampler 80": 80}
STUDIES = {  # whose blocks they are in, where that is not their name
    **dict.fromkeys(PATCHES, "advocc"),
    **dict.fromkeys(AGREEMENTS, "advocc_search"),
    **dict.fromkeys(SAMPLERS, "advocc_sampler"),
}
ONE_SEED = (*AGREEMENTS, *SAMPLERS)
NAMES = (OCCLUSION, GROWTH, ACTIONS, INPAINTING, *PATCHES, *ONE_SEED)

ATTACKED = 200  # images
AGREED = 50  # of them, evenly spaced: attacked with the full grid too
SAMPLED = 40  # of them: Algorithm 2 attacked
DRAWS, FRESH_DRAWS = 3, 3
GALLERY = 12  # worst cases whose patches are kept


class Run(blocks.Run):
    """One protocol on one data source with one training seed."""

    def __init__(self, base, name, source, seed, root=None):
        require(name in NAMES, f"`name` must be one of {', '.join(NAMES)}; got {name!r}")
        self.protocol = name
        config = ablations.changed(base, {"data.source": source, "seed": seed})
        values = {"protocol": name, **self._settings(), "config": _trained_from(config)}
        super().__init__(STUDIES.get(name, name), "", config, values, root)
        self.store = self.root / "scratch" / "protocols" / f"{source}-{seed}"

    def __str__(self):
        return f"{self.protocol}, {self.config.data.source}, seed {self.config.seed}"

    def _settings(self):
        measured = {
            OCCLUSION: protocols.settings,
            GROWTH: growth.settings,
            ACTIONS: action_rows.settings,
            INPAINTING: inpainting.settings,
        }
        if self.protocol in measured:
            return measured[self.protocol]()
        attack = {"attacked": ATTACKED, "draws": DRAWS, "fresh_draws": FRESH_DRAWS}
        if self.protocol in AGREEMENTS:
            attack["agreed"] = AGREED
        if self.protocol in SAMPLERS:
            attack |= {"sampled": SAMPLED, "chain_steps": CHAIN_STEPS}
        return attack

    def pipeline(self):
        """The finished pipeline where it is this run's, else one of its own in scratch/."""
        finished = finished_pipeline(SOURCE_PARAMS[self.config.data.source])
        if finished and to_dict(finished.config) == to_dict(self.config):
            return finished
        return Pipeline(self.config, self.store)

    def go(self):
        """As `blocks.Run.go`; one process at a time works with a source and a seed."""
        with locked(self.store):
            super().go()

    def measured(self):
        """Rows of the protocol; of an attack by the pipelines' own seed also its gallery."""
        pipeline = self.pipeline()
        if self.protocol == INPAINTING:
            return self._table(self._inpainting(pipeline))
        found = tested(pipeline)
        if self.protocol == OCCLUSION:
            rows = protocols.occlusion_rows(found, self._kept())
            return self._table([row for kind in rows.values() for row in kind])
        if self.protocol == GROWTH:
            return self._table(growth.growth_rows(found, self._kept())["uncertainty"])
        if self.protocol == ACTIONS:
            return self._table(action_rows.action_rows(found))
        if self.protocol in PATCHES:
            return self._table(self._attack(found))
        return self._table(
            self._agree(found) if self.protocol in AGREEMENTS else self._sampler(found)
        )

    def _table(self, rows):
        if self.protocol in list(PATCHES)[1:]:  # the first patch's rows hold the clean images
            rows = [row for row in rows if row["level"] != 0]
        return table_rows(rows, self.config)

    def _inpainting(self, pipeline):
        """Rows of both cases of inpainting."""
        model, encoder = pose_model(pipeline), trained_encoder(pipeline).model
        data, rows = prepared_data(pipeline), []
        for case, split in inpainting.CASES.items():
            seed = self.config.seed
            found = inpainting.inpainted(model, encoder, data, case, seed)
            rows += inpainting.inpainting_rows(case, found, data[split], *self._intervals())
        return rows

    def _attack(self, found):
        """Rows; the records of the worst cases, without their tables, go into the gallery.

        A record there says which data and networks it is of, `Pipeline.contents`.
        """
        soft, test = _soft(found), found.data["test"]
        grid = patch_grid(PATCHES[self.protocol], test.image_size)
        rows = protocols.spread_rows(test, ATTACKED)
        records = self._attacked(soft, test, grid, rows, COARSE_TO_FINE)
        errors = advocc_rows(records, test, grid, ADVOCC, *soft[:2], *self._intervals())
        worst = sorted(records, key=lambda r: -r["worst"]["mpjpe_mm"]["error_mm"])[:GALLERY]
        made_by = {"made_by": self.pipeline().contents()}
        gallery = [{k: v for k, v in r.items() if k != "errors_mm"} | made_by for r in worst]
        if self.config.seed == SEEDS[0]:
            path = gallery_path(self.config.data.source, self.root)
            before = read_json(path) if is_there(path) else {}
            write_rows(path, before | {self.protocol: gallery})
        return errors

    def _agree(self, found):
        """`agreement_rows` of a part of the attacked images."""
        soft, test = _soft(found), found.data["test"]
        grid, rows = patch_grid(AGREEMENTS[self.protocol], test.image_size), _part(test, AGREED)
        records = self._attacked(soft, test, grid, rows, FULL)
        return agreement_rows(records, test, grid, *soft[:2], *self._intervals())

    def _sampler(self, found):
        """`advocc_rows` of a part of the attacked images, of the sampler itself."""
        test = found.data["test"]
        own = [c for c in found.contenders if c.method == DI2POSE and c.in_detail]
        (sampler,) = (c for c in own if c.looked_into > 1)
        grid, rows = patch_grid(SAMPLERS[self.protocol], test.image_size), _part(test, SAMPLED)
        records = self._attacked(sampler, test, grid, rows, COARSE_TO_FINE)
        return advocc_rows(records, test, grid, SAMPLER, *sampler[:2], *self._intervals())

    def _intervals(self):
        return self.config.evaluation.bootstrap_samples, self.config.seed

    def _attacked(self, contender, test, grid, rows, search):
        """The records of the attacked images."""
        textures = open_textures(None, test.image_size[0])
        predictor, seed = contender.predictor, self.config.seed
        attack = Attack(predictor, textures, grid, seed, DRAWS, FRESH_DRAWS)
        cost = expected_cost(attack, test, len(rows), search)
        print(f"{self.protocol}: at most {cost.seconds / 60:.0f} minutes are expected", flush=True)
        identity = {
            "library": LIBRARY_DIGEST,
            "config": _trained_from(self.config),
            "made_by": self.pipeline().contents(),
        }
        folder = self.store / self.protocol.replace(" ", "") / fingerprint(identity)
        return attack_images(attack, test, rows, search, folder, identity)

    def _kept(self):
        """The folder of what a killed run of this code, settings and networks goes on with."""
        networks = self.pipeline().contents()
        made_by = {"library": LIBRARY_DIGEST, "from": self.values, "made_by": networks}
        return self.store / self.protocol / fingerprint(made_by)


def _soft(found):
    """Di2Pose's contender that is attacked: soft decoding."""
    (soft,) = (c for c in found.contenders if (c.method, c.estimator) == (DI2POSE, SOFT))
    return soft


def _part(test, count):
    """So many of the attacked images, evenly spaced."""
    attacked = protocols.spread_rows(test, ATTACKED)
    return attacked[protocols.spread_rows(attacked, count)]


def _trained_from(config):
    """All that the rows depend on, but for the code and the source's files, for JSON."""
    return ablations.run_values(config, ablations.DENOISER)


def planned(base, names, sources, seeds, root=None):
    """`Run`s in the order of running: each seed's protocols together.

    Those of `ONE_SEED` are of the pipelines' own seed alone.
    """
    return [
        Run(base, name, source, seed, root)
        for source in sources
        for seed in seeds
        for name in names
        if name not in ONE_SEED or seed == SEEDS[0]
    ]


def gallery_path(source, root=None):
    """Where the records of the worst patches are, of the pipelines' own seed: what to paint."""
    return block_path("advocc", source, SEEDS[0], root).with_name(f"{source}-gallery.json")


def expected_seconds(runs):
    """How long these runs will take, from the seconds of a benchmark: three hours a seed.

    An attack says by itself how long it will be, when it starts."""
    share = {OCCLUSION: 0.3, GROWTH: 0.15, ACTIONS: 0.05, INPAINTING: 0.1}
    return sum(3 * 3600 * share.get(run.protocol, 0.1) for run in runs)


def main(arguments):
    """Command line; returns the exit code."""
    program, params = "studies.protocol_runs", SOURCE_PARAMS["synthetic"]
    return blocks.command(
        program, __doc__, NAMES, SEEDS, params, planned, expected_seconds, arguments
    )


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main(sys.argv[1:]))
