"""Di2Pose: 3D human pose from one image by discrete diffusion over pose tokens.

Importing the package, or any room but evaluation and figures, needs torch, numpy and filelock only;
plotly, transformers, papermill and dvc are imported where they are used.

Conventions, stated once. Lengths are metres; only names ending in ``_mm`` are
millimetres. World frame: z up, right-handed. Camera frame: x right, y down,
z forward. Poses are root-relative (pelvis at 0) unless named otherwise. Token
codes are 0 … C − 1 and Occ is C; step 0 is clean, steps 1 … S are noisy;
``M[i, j] = q(k_s = i | k_{s−1} = j)``, so columns sum to 1.
"""

__version__ = "0.1.0"
