"""The number of cores that a process may use, from its affinity and from made-up trees of control groups."""

import os

import pytest

from backends import get_backend, processors


def tree(root, groups, files):
    """A file system with /proc/self/cgroup and the given files under /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "5:memory:/a\n3:cpu,cpuacct:/docker/c1\n1:name=systemd:/\n"


@pytest.mark.parametrize(
    "groups, files, expected",
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {}, 64),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "500000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "max 100000"}, 4),
        ("0::/../../a\n", {"cpu.max": "500000 100000"}, 5),
        ("0::/a\n", {"a/cpu.max": "9900000 100000"}, 64),
        ("0::/a\n", {"a/cpu.max": "nonsense"}, 64),
        ("0::/a\n", {"a/cpu.max": "0 0"}, 64),
        (V1, {"cpu/docker/c1/cpu.cfs_quota_us": "250000", "cpu/docker/c1/cpu.cfs_period_us": "100000"}, 3),
        (V1, {"cpu/docker/c1/cpu.cfs_quota_us": "-1", "cpu/docker/c1/cpu.cfs_period_us": "100000"}, 64),
        (V1, {"cpu/cpu.cfs_quota_us": "700000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 7),  # a container's own view
        ("garbage\n\n:\n", {}, 64),
    ],
)
def test_a_quota_limits_the_cores(tmp_path, monkeypatch, groups, files, expected):
    monkeypatch.setattr(processors, "affinity", lambda: 64)
    assert processors.available(tree(tmp_path, groups, files)) == expected


def test_without_control_groups_the_affinity_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "affinity", lambda: 3)
    assert processors.available(tmp_path) == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_the_affinity_counts(tmp_path):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors.affinity() == processors.available(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("name", ["numba", "torch"])
def test_backends_use_no_more_threads_than_that_by_default(monkeypatch, name):
    library = pytest.importorskip(name)
    before = library.get_num_threads()
    monkeypatch.setattr(processors, "available", lambda: 1)
    try:
        assert get_backend(name).threads == 1
    finally:
        library.set_num_threads(before)
