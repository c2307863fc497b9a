"""Bugs planted in the layers, and the check of the battery that has to find each."""

import dataclasses

import flax.linen as nn
import jax
import pytest
import test_battery as battery_tests
from battery import coordinates, sampled

from zoo.layers import Dense
from zoo.layers.linear import Affine


@pytest.fixture(autouse=True)
def nothing_remembered():
    """Neither numbers nor programs of the layers as they are, or as they are not."""

    def forget():
        for remembered in (coordinates, sampled):
            remembered.cache_clear()
        jax.clear_caches()

    forget()
    yield
    forget()


def test_fan_out_in_the_place_of_fan_in(monkeypatch):
    monkeypatch.setattr(Affine, "n", lambda self, fan_in: self.fan_out)
    with pytest.raises(AssertionError, match="'hidden'"):
        battery_tests.test_coordinate_check("random_features")


def test_the_scale_of_dense_layers_dropped(monkeypatch):
    monkeypatch.setattr(Dense, "scales", lambda self, fan_in: (1.0, self.sigma_b))
    with pytest.raises(AssertionError, match="'output'"):
        battery_tests.test_coordinate_check("random_features")


def test_sigma_w_dropped_from_the_finite_reading(monkeypatch):
    finite = Dense.finite

    def plain(self, scope, x):
        return finite(dataclasses.replace(self, sigma_w=1.0), scope, x)

    monkeypatch.setattr(Dense, "finite", plain)
    with pytest.raises(AssertionError, match="'ntk', array"):
        battery_tests.test_finite_width_tends_to_the_limit("random_features", False)


def test_a_frozen_layer_counted_in_the_limit(monkeypatch):
    covariances = Affine.covariances

    def counting(self, *args):
        return covariances(dataclasses.replace(self, trained=True), *args)

    monkeypatch.setattr(Affine, "covariances", counting)
    with pytest.raises(AssertionError, match="'ntk', array"):
        battery_tests.test_finite_width_tends_to_the_limit("random_features", False)


def test_a_frozen_layer_that_moves(monkeypatch):
    def moving(self, scope, name, std, shape):
        return scope.param(name, nn.initializers.normal(std), shape)

    monkeypatch.setattr(Affine, "_param", moving)
    with pytest.raises(AssertionError, match="all"):
        battery_tests.test_frozen_layers_neither_move_nor_count("random_features")
