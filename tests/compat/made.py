"""Figures as tests of reports need them: two of a graph of ours, one of a baseline, one of a scan."""

from dataclasses import replace

from compat.figures import Figure

ONE = Figure(
    data="made", fingerprint="00000000", n=1000, dim=8, metric="l2", queries=10, k=10, contender="inlay-A",
    baseline=False, kind="graph", library="lib", version="1", setting={"ef": 16}, mode="single", batch=1,
    threads=1, recall=0.9, qps=1000.0, qps_rounds=[900.0, 1000.0], cores=1.0, build_seconds=2.5,
    build_threads=1, bytes_said=32.0, bytes_cold=None, bytes_grown=None, bytes_peak=None, machine="cpu",
    run="one",
)  # fmt: skip
TWO = replace(ONE, recall=0.99, qps=500.0, setting={"ef": 32})
OTHER = replace(ONE, contender="base", baseline=True, recall=0.95, qps=600.0)
SCAN = replace(OTHER, contender="exact", kind="scan", recall=1.0, qps=10.0)
