"""Peer (d): the same network as an ANN in PyTorch (ReLU, one step), with channels last and a fused optimiser."""

from torch.nn import functional

from benchmarks.peers.dense import Dense


class ANN(Dense):
    """The dense peer with ReLU in place of the neuron."""

    spiking = False

    def summed(self, x):
        """Return x, because there is only one step."""
        return x

    def neuron(self, layer, x):
        """ReLU, then dropout."""
        out, mask = functional.relu(x), self.mask(layer, x)
        self.count_spikes(layer, out)
        return out if mask is None else out * mask
