"""Measurements of a trained network: accuracy, spiking activity, energy, perturbation distances, and statistics."""

from minihire.analysis.activity import LayerActivity, measure_activity
from minihire.analysis.distance import perturbation_distance, spike_distance
from minihire.analysis.energy import COSTS, Energy, LayerOperations, measure_energy, operations
from minihire.analysis.neurobench import NeuroBench, SynapticOperations, measure_neurobench
from minihire.analysis.raster import spike_trains
from minihire.analysis.statistics import Score, gain, mcnemar, mcnemar_over_seeds, wilson

__all__ = [
    "COSTS",
    "Energy",
    "LayerActivity",
    "LayerOperations",
    "NeuroBench",
    "Score",
    "SynapticOperations",
    "gain",
    "mcnemar",
    "mcnemar_over_seeds",
    "measure_activity",
    "measure_energy",
    "measure_neurobench",
    "operations",
    "perturbation_distance",
    "spike_distance",
    "spike_trains",
    "wilson",
]
