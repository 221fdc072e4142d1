"""Another machine's arithmetic on this one, for tests: the last bits of floats are others.

Another processor has other vector instructions, and sums in another order. These variables make
torch, oneDNN and MKL do with AVX2, where a processor has more, and one thread sums in another
order than two. On a processor that has no more, only the thread and MKL's mode differ: fewer
instructions would train several times as long. So does MKL's mode COMPATIBLE, which changes
more: for short runs alone.
"""

OTHER_MACHINE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OMP_NUM_THREADS": "1",
}
