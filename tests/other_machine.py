"""Another machine's arithmetic on this one, for tests: the last bits of floats are others.

Another processor has other vector instructions, and sums in another order. These variables make
torch, oneDNN and MKL do with fewer, and one thread sums in another order than two. MKL's mode
COMPATIBLE changes more, at three times the time of a training step: for short runs alone.
"""

OTHER_MACHINE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OMP_NUM_THREADS": "1",
}
