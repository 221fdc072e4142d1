"""Run the protocols of occlusion: three training seeds at scale lesson, and rows of each.

`python -m studies.protocol_runs --help`. A run is one protocol on one data source with one
training seed. It leaves one small row file; what exists is skipped, and a run that was killed
continues. The seed of the finished pipeline is not trained again.

The attacks search from coarse to fine, against soft decoding, whose answer has no chance in it. An
agreement attacks a part of the same images with the full grid, with the same seed and so the same
draws, and says how often and by how much the coarse search missed the worst case. The sampler's
attack is one of Algorithm 2, on few images, for it takes as many calls of the network as the chain
has steps: how much of a maximum over a random sampler is luck. One seed will do for these: they
are about the search, not about the training.
"""

import argparse
import sys

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.config_file import load_config, to_dict
from di2pose_lib.base.files import fingerprint, is_there, locked
from di2pose_lib.base.machine import machine
from di2pose_lib.base.project import (
    LIBRARY_DIGEST,
    SOURCE_PARAMS,
    Pipeline,
    finished_pipeline,
    project_root,
)
from di2pose_lib.data.source_record import read_record
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
from studies import ablations, action_rows, growth
from studies.advocc_runs import expected_cost
from studies.advocc_runs import run as attack_images
from studies.experiment_runs import check_sources, run_each

SEEDS = (2, 3, 4)  # the pipelines' own, and the next two
OCCLUSION, GROWTH, ACTIONS, INPAINTING = "occlusion", "growth", "actions", "inpainting"
PATCHES = {"advocc 40": 40, "advocc 80": 80}
AGREEMENTS = {"agreement 40": 40, "agreement 80": 80}
SAMPLERS = {"sampler 80": 80}
ONE_SEED = (*AGREEMENTS, *SAMPLERS)
NAMES = (OCCLUSION, GROWTH, ACTIONS, INPAINTING, *PATCHES, *ONE_SEED)

ATTACKED = 200  # images
AGREED = 50  # of them, evenly spaced: attacked with the full grid too
SAMPLED = 40  # of them: Algorithm 2 attacked
DRAWS, FRESH_DRAWS = 3, 3
GALLERY = 12  # worst cases whose patches are kept


class Run:
    """One protocol on one data source with one training seed.

    Attributes:
        config: its whole `Config`.
        row_path: where its rows are, or will be.
    """

    def __init__(self, base, name, source, seed, root=None):
        require(name in NAMES, f"`name` must be one of {', '.join(NAMES)}; got {name!r}")
        self.name, self.root = name, root or project_root()
        self.config = ablations.changed(base, {"data.source": source, "seed": seed})
        self.values = {"protocol": name, **self._settings(), "config": _trained_from(self.config)}
        files = read_record(self.config).get("identity")
        key = fingerprint([self.values, files])
        folder = self.root / "pipelines" / "protocols" / "results" / source
        self.row_path = folder / f"{name.replace(' ', '')}-{seed}-{key}.json"
        self.store = self.root / "scratch" / "protocols" / f"{source}-{seed}"

    def _settings(self):
        measured = {
            OCCLUSION: protocols.settings,
            GROWTH: growth.settings,
            ACTIONS: action_rows.settings,
            INPAINTING: inpainting.settings,
        }
        if self.name in measured:
            return measured[self.name]()
        attack = {"attacked": ATTACKED, "draws": DRAWS, "fresh_draws": FRESH_DRAWS}
        if self.name in AGREEMENTS:
            attack["agreed"] = AGREED
        if self.name in SAMPLERS:
            attack |= {"sampled": SAMPLED, "chain_steps": CHAIN_STEPS}
        return attack

    def pipeline(self):
        """The finished pipeline where it is this run's, else one of its own in scratch/."""
        finished = finished_pipeline(SOURCE_PARAMS[self.config.data.source])
        if finished and to_dict(finished.config) == to_dict(self.config):
            return finished
        return Pipeline(self.config, self.store)

    def go(self):
        """Train what is missing, measure, and write the rows."""
        with locked(self.store):
            measured = self._measured()
            made_by = {
                "library": LIBRARY_DIGEST[:16],
                "machine": machine(),
                "from": self.values,
            }
            write_rows(self.row_path, {**made_by, **measured})

    def _measured(self):
        """{kind: rows}, and of an attack the gallery."""
        pipeline = self.pipeline()
        if self.name == INPAINTING:
            return {"errors": self._inpainting(pipeline)}
        found = tested(pipeline)
        if self.name == OCCLUSION:
            return protocols.occlusion_rows(found, self._kept())
        if self.name == GROWTH:
            return growth.growth_rows(found, self._kept())
        if self.name == ACTIONS:
            return {"errors": action_rows.action_rows(found)}
        if self.name in PATCHES:
            return self._attack(found)
        return {"errors": self._agree(found) if self.name in AGREEMENTS else self._sampler(found)}

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
        """{"errors": rows, "gallery": the records of the worst cases, without their tables}.

        A record of the gallery says which data and networks it is of, `Pipeline.contents`.
        """
        soft, test = _soft(found), found.data["test"]
        grid = patch_grid(PATCHES[self.name], test.image_size)
        rows = protocols.spread_rows(test, ATTACKED)
        records = self._attacked(soft, test, grid, rows, COARSE_TO_FINE)
        errors = advocc_rows(records, test, grid, ADVOCC, *soft[:2], *self._intervals())
        worst = sorted(records, key=lambda r: -r["worst"]["mpjpe_mm"]["error_mm"])[:GALLERY]
        made_by = {"made_by": self.pipeline().contents()}
        gallery = [{k: v for k, v in r.items() if k != "errors_mm"} | made_by for r in worst]
        return {"errors": errors, "gallery": gallery}

    def _agree(self, found):
        """`agreement_rows` of a part of the attacked images."""
        soft, test = _soft(found), found.data["test"]
        grid, rows = patch_grid(AGREEMENTS[self.name], test.image_size), _part(test, AGREED)
        records = self._attacked(soft, test, grid, rows, FULL)
        return agreement_rows(records, test, grid, *soft[:2], *self._intervals())

    def _sampler(self, found):
        """`advocc_rows` of a part of the attacked images, of the sampler itself."""
        test = found.data["test"]
        own = [c for c in found.contenders if c.method == DI2POSE and c.in_detail]
        (sampler,) = (c for c in own if c.looked_into > 1)
        grid, rows = patch_grid(SAMPLERS[self.name], test.image_size), _part(test, SAMPLED)
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
        print(f"{self.name}: at most {cost.seconds / 60:.0f} minutes are expected", flush=True)
        identity = {
            "library": LIBRARY_DIGEST,
            "config": _trained_from(self.config),
            "made_by": self.pipeline().contents(),
        }
        folder = self.store / self.name.replace(" ", "") / fingerprint(identity)
        return attack_images(attack, test, rows, search, folder, identity)

    def _kept(self):
        """The folder of what a killed run of this code, settings and networks goes on with."""
        networks = self.pipeline().contents()
        made_by = {"library": LIBRARY_DIGEST, "from": self.values, "made_by": networks}
        return self.store / self.name / fingerprint(made_by)


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


def main(arguments):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.protocol_runs", description=__doc__)
    parser.add_argument("--protocol", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--plan", action="store_true", help="say what is missing, run nothing")
    chosen = parser.parse_args(arguments)
    try:
        surroundings.check(project_root())
        base = load_config(project_root() / SOURCE_PARAMS["synthetic"])
        plan = planned(base, chosen.protocol, chosen.source, chosen.seed)
        missing = [run for run in plan if not is_there(run.row_path)]
        print(f"{len(plan)} runs, {len(missing)} of them missing", flush=True)
        if chosen.plan:
            return 0
        check_sources(base, dict.fromkeys(run.config.data.source for run in missing))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    where = [f"{run.config.data.source}, seed {run.config.seed}" for run in missing]
    return run_each([(f"{run.name}, {w}", run) for run, w in zip(missing, where, strict=True)])


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main(sys.argv[1:]))
