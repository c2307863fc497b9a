"""A cell on a mesh of devices: the arrays of one device, the parameters on many."""

import re

import numpy as np
import pytest

from zoo.gap.cell import arguments
from zoo.gap.config import Config
from zoo.gap.mesh import make_mesh, require_even
from zoo.gap.programs import compiled, lower
from zoo.gap.run import Experiment

SIZE = {"widths": (16,), "seeds": 8, "n_train": 8, "n_test": 4, "steps": 6}
MINIBATCH = {"batch_size": 4, "optimizer": "momentum", "learning_rate": 0.01}


def measured(mesh, **options):
    config = Config(**SIZE, records=3, **options)
    experiment = Experiment(config, mesh=mesh)
    return experiment.measure(16, np.arange(8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "options"),
    [
        ("seed:4,width:2", {}),
        ("width:8", {}),
        ("seed:2,width:4", MINIBATCH | {"antisymmetric_init": True}),
        ("seed:4,width:2", {"arch": "deq"}),
    ],
)
def test_arrays_are_those_of_one_device(mesh, options):
    found, want = measured(mesh, **options), measured(None, **options)
    assert found.keys() == want.keys()
    for name, array in want.items():
        if "accuracy" in name or "residual" in name or "steps" in name:
            continue  # of ties at f_0 = 0, of rounding itself
        # Sums over devices round apart, by 3e-6 of an array at most; gaps magnify it.
        np.testing.assert_allclose(found[name], array, rtol=2e-4, atol=2e-5)


def test_every_device_holds_its_seeds_and_its_part_of_the_width():
    config = Config(**SIZE, records=3)
    experiment = Experiment(config, mesh="seed:4,width:2")
    mesh, net = experiment.mesh, experiment.trained_net(16)
    shared, together = arguments(
        net,
        experiment.data,
        experiment.limit(16),
        0.1,
        experiment.times,
        np.arange(8),
        2.0**30,
        experiment.training,
        mesh,
    )
    assert together == 2
    programs = compiled(net, 16, experiment.training, together, 6, 2**28, mesh, shared)
    params, _, progress = programs.begin(*shared)
    leaf = params["dense_1"]["W"]
    assert leaf.shape == (8, 16, 16)
    assert {shard.data.shape for shard in leaf.addressable_shards} == {(2, 16, 8)}
    assert len({str(shard.index) for shard in leaf.addressable_shards}) == 8
    assert progress.state[0]["dense_1"]["W"].sharding == leaf.sharding


def test_the_mesh_is_of_all_devices():
    mesh = make_mesh("width:2,seed:4")
    assert dict(mesh.shape) == {"seed": 4, "width": 2}
    assert dict(make_mesh("seed:8").shape) == {"seed": 8, "width": 1}
    allowed = "S W = 8, the number of devices"
    for wrong in (
        "seed:4",
        "seed:4,width:4",
        "seeds:8",
        "seed:-8",
        "8",
        "seed:2,seed:8",
    ):
        with pytest.raises(ValueError, match=f"--mesh={wrong} is not .*{allowed}"):
            make_mesh(wrong)


def test_seeds_and_widths_go_evenly():
    mesh = make_mesh("seed:4,width:2")
    require_even(mesh, [8, 4], [2, 16])
    with pytest.raises(ValueError, match=r"seed:4 .* 6 seeds of a cell"):
        require_even(mesh, [8, 6], [16])
    with pytest.raises(ValueError, match=r"width:2 .* width 15"):
        require_even(mesh, [8], [15])
    with pytest.raises(ValueError, match="--matmul_precision"):
        Config(**SIZE, matmul_precision="low")


def test_the_precision_of_steps_is_asked_for_and_that_of_kernels_is_not():
    """By the products of the programs, before the compiler sees them."""

    def precisions(asked):
        experiment = Experiment(Config(**SIZE, records=3, matmul_precision=asked))
        net, training = experiment.trained_net(16), experiment.training
        options = (net, experiment.data, experiment.limit(16), 0.1, experiment.times)
        shared, together = arguments(*options, np.arange(8), 2.0**30, training)
        lowered = lower(net, 16, training, together, 6, 2**28, None, shared)
        texts = [program.as_text() for program in lowered]
        return [set(re.findall(r"precision = \[(\w+)", text)) for text in texts]

    assert precisions("highest") == [{"HIGHEST"}] * 3
    assert precisions("default") == [{"HIGHEST"}, {"DEFAULT"}, {"HIGHEST"}]


def test_no_device_puts_a_layer_together():
    """By the compiled programs: the largest weights, 48 x 48, occur in no whole."""
    config = Config(**SIZE | {"widths": (48,)}, records=3)
    experiment = Experiment(config, mesh="width:8")
    net, training = experiment.trained_net(48), experiment.training
    options = (net, experiment.data, experiment.limit(48), 0.1, experiment.times)
    mesh = experiment.mesh
    shared, together = arguments(*options, np.arange(8), 2.0**30, training, mesh)
    programs = compiled(net, 48, training, together, 6, 2**28, mesh, shared)
    for program in programs:
        text = program.as_text()
        assert re.search(r"f32\[(\d+,)*48,6\]", text)
        assert not re.search(r"f32\[(\d+,)*48,48\]", text)
