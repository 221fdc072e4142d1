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
from di2pose_lib.base.files import fingerprint, is_there, locked, read_json, write_json
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
from di2pose_lib.evaluation.advocc_rows import advocc_rows, agreement_rows
from di2pose_lib.evaluation.advocc_search import COARSE_TO_FINE, FULL
from di2pose_lib.evaluation.estimators import CHAIN, CHAIN_STEPS, ONE_SAMPLE, SOFT
from di2pose_lib.evaluation.models import DI2POSE, ImageModel
from di2pose_lib.evaluation.patch_grid import patch_grid
from di2pose_lib.evaluation.pictures import joined, spread_rows
from di2pose_lib.evaluation.stage import pose_model, tested
from di2pose_lib.evaluation.table import block_path
from studies import ablations, blocks
from studies.advocc_runs import expected_cost
from studies.advocc_runs import run as attack_images

SEEDS = (2, 3, 4)  # the pipelines' own, and the next two
OCCLUSION, GROWTH, ACTIONS, INPAINTING = "occlusion", "growth", "actions", "inpainting"
PATCHES = {"advocc 40": 40, "advocc 80": 80}
SECOND_PATCH = "advocc 80"
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
            OCCLUSION: protocols.occlusion_settings,
            GROWTH: protocols.growth_settings,
            ACTIONS: protocols.action_settings,
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
            return self._inpainting(pipeline)
        if self.protocol not in (OCCLUSION, GROWTH, ACTIONS):
            return self._attack(pipeline)
        models = tested(pipeline)
        if self.protocol == ACTIONS:
            return protocols.clean_action_rows(models)
        if self.protocol == GROWTH:
            places = protocols.growth_rows, protocols.GROWTH
        else:
            places = protocols.occlusion_rows, protocols.OCCLUSIONS
        rows_of, occlusions = places
        return protocols.kept(rows_of, models, occlusions, self._kept())

    def _inpainting(self, pipeline):
        """Rows of both cases of inpainting."""
        model, encoder = pose_model(pipeline), trained_encoder(pipeline).model
        data, config = prepared_data(pipeline), self.config
        tables = []
        for case in inpainting.CASES:
            inpainted = inpainting.inpainted(model, encoder, data, case, config.seed)
            tables.append(inpainting.inpainting_rows(case, inpainted, data, config))
        return joined(tables)

    def _attack(self, pipeline):
        """Rows of an attack: on soft decoding, with the coarse or the full grid, or on the chain.

        The second patch leaves out the clean images, which are those of the first. The records of
        the worst cases, without their tables, go into the gallery.
        """
        encoder, model = trained_encoder(pipeline).model, pose_model(pipeline)
        attacked, estimator = ImageModel(encoder, model, SOFT), SOFT
        if self.protocol in SAMPLERS:
            attacked, estimator = ImageModel(encoder, model.along_chain(), ONE_SAMPLE), CHAIN
        test = prepared_data(pipeline)["test"]
        grid = patch_grid((PATCHES | AGREEMENTS | SAMPLERS)[self.protocol], test.image_size)
        images = spread_rows(test, ATTACKED)
        if self.protocol in ONE_SEED:
            part = AGREED if self.protocol in AGREEMENTS else SAMPLED
            images = images[spread_rows(images, part)]
        search = FULL if self.protocol in AGREEMENTS else COARSE_TO_FINE
        records = self._attacked(attacked, test, grid, images, search)
        make = agreement_rows if self.protocol in AGREEMENTS else advocc_rows
        rows = make(records, test, self.config, grid, DI2POSE, estimator)
        if self.protocol in PATCHES and self.config.seed == SEEDS[0]:
            self._hang(records)
        return rows if self.protocol != SECOND_PATCH else rows[rows.level != 0]

    def _hang(self, records):
        """The records of the worst cases into the gallery.

        A record there says which data and networks it is of, `Pipeline.contents`.
        """
        worst = sorted(records, key=lambda r: -r["worst"]["mpjpe_mm"]["error_mm"])[:GALLERY]
        made_by = {"made_by": self.pipeline().contents()}
        worst = [{k: v for k, v in r.items() if k != "errors_mm"} | made_by for r in worst]
        path = gallery_path(self.config.data.source, self.root)
        before = read_json(path) if is_there(path) else {}
        write_json(path, before | {self.protocol: worst})

    def _attacked(self, model, test, grid, rows, search):
        """The records of the attacked images."""
        textures = open_textures(None, test.image_size[0])
        attack = Attack(model, textures, grid, self.config.seed, DRAWS, FRESH_DRAWS)
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
