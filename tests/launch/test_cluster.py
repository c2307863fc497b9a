"""Where --distributed=auto makes processes one run, and what place each one has."""

import http.server
import threading

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import cluster

STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
PLACES = {
    "alone": ({}, (0, 1)),
    "launch.local": ({"ZOO_PROCESSES": "3", "ZOO_PROCESS": "2"}, (2, 3)),
    "launch.local in a Slurm step": (
        STEP | {"ZOO_PROCESSES": "3", "ZOO_PROCESS": "2"},
        (2, 3),
    ),
    "a Slurm step": (STEP, (1, 2)),
    "a batch script, outside of srun": (BATCH, (0, 1)),
    "Open MPI": (MPI, (3, 4)),
}
BAD_PLACES = {
    "ZOO_PROCESS=a is not allowed": {"ZOO_PROCESSES": "2", "ZOO_PROCESS": "a"},
    "SLURM_STEP_NUM_TASKS=-2 is": STEP | {"SLURM_STEP_NUM_TASKS": "-2"},
    "OMPI_COMM_WORLD_RANK=4 is": MPI | {"OMPI_COMM_WORLD_RANK": "4"},
}
GKE = {"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "0"}
TPUS = {
    "TPU hosts of Kubernetes": (GKE, 4),
    "one TPU host": ({"TPU_WORKER_HOSTNAMES": "localhost"}, 1),
    "two slices": (GKE | {"MEGASCALE_NUM_SLICES": "2"}, 8),
    "not to ask": ({"TPU_SKIP_MDS_QUERY": "1"}, 1),
}


@pytest.fixture
def nowhere(monkeypatch):
    """No variable of a cluster is set; the metadata server is a closed port."""
    for name in dict(cluster.os.environ):
        if name.startswith(("ZOO_PROCESS", "SLURM_", "OMPI_", "TPU_", "MEGASCALE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GCE_METADATA_IP", "localhost:9")
    return lambda values: [monkeypatch.setenv(*item) for item in values.items()]


@pytest.fixture
def libtpu(tmp_path, monkeypatch):
    """A package of that name is installed; nobody imports it."""
    (tmp_path / "libtpu.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def flag():
    """Sets a flag, or defines it, for the length of a test."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()

    def give(name, value):
        if name not in flags.FLAGS:
            flags.DEFINE_string(name, None, "As programs have it.")
        setattr(flags.FLAGS, name, value)

    with flagsaver.flagsaver():
        yield give


@pytest.mark.parametrize("where", PLACES)
def test_a_process_knows_its_place(nowhere, flag, where):
    values, expected = PLACES[where]
    nowhere(values)
    assert cluster.place() == expected
    flag("mesh", None)
    assert not cluster.needed()  # without a mesh, processes share the cells
    flag("distributed", "off")
    assert cluster.place() == (0, 1)


@pytest.mark.parametrize("said", BAD_PLACES)
def test_a_place_that_is_none_is_refused(nowhere, flag, said):
    nowhere(BAD_PLACES[said])
    with pytest.raises(cluster.ClusterError, match=said):
        cluster.place()


@pytest.mark.parametrize("where", PLACES)
def test_a_mesh_needs_all_processes(nowhere, flag, where):
    values, (_, count) = PLACES[where]
    nowhere(values)
    flag("mesh", "seed:2")
    assert cluster.needed() == (count > 1)


@pytest.mark.parametrize("where", TPUS)
def test_hosts_of_a_tpu_slice_need_each_other(nowhere, flag, libtpu, where):
    values, count = TPUS[where]
    nowhere(values)
    assert cluster.tpu_hosts() == count
    assert cluster.needed() == (count > 1)


def test_without_libtpu_there_is_no_tpu(nowhere):
    nowhere(GKE)
    assert cluster.tpu_hosts() == 1


class Metadata(http.server.BaseHTTPRequestHandler):
    """What the metadata server of one of two TPU VMs answers."""

    def do_GET(self):
        known = self.path.endswith("/instance/attributes/worker-network-endpoints")
        asked = self.headers["Metadata-Flavor"] == "Google"
        self.send_response(200 if known and asked else 403)
        self.end_headers()
        self.wfile.write(b"unknown:unknown:10.0.0.2,unknown:unknown:10.0.0.3")

    def log_message(self, *_):
        pass


def test_a_tpu_vm_asks_its_metadata_server(nowhere, libtpu):
    with http.server.HTTPServer(("localhost", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        nowhere({"GCE_METADATA_IP": f"localhost:{server.server_address[1]}"})
        assert cluster.tpu_hosts() == 2
        server.shutdown()
    assert cluster.tpu_hosts() == 1  # no server: no TPU VM
