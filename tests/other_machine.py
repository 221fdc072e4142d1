"""Another machine's arithmetic on this one, for tests: the last bits of floats are others.

Another processor has other vector instructions, and sums in another order. These variables make
torch, oneDNN and MKL do with fewer than this one has, and one thread sums in another order than
two. MKL's mode COMPATIBLE changes more, at three times the time of a training step: for short
runs alone.
"""

import torch

WIDE = torch.backends.cpu.get_cpu_capability() == "AVX512"

OTHER_MACHINE = {
    "ATEN_CPU_CAPABILITY": "avx2" if WIDE else "default",
    "ONEDNN_MAX_CPU_ISA": "AVX2" if WIDE else "SSE41",
    "MKL_CBWR": "AVX2",
    "OMP_NUM_THREADS": "1",
}
