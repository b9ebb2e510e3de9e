"""The networks of the flow: shapes, order of the genes, and what a narrow network can and cannot pass on."""

import pytest
import torch

from heldout.tasks.perturbation.networks.flow._nets import Latents, PlainMLP, SkipMLP
from heldout.tasks.perturbation.networks.flow._unet import UNet

G, W = 21, 5
NETS = {
    "mlp": lambda: PlainMLP(G, W, width=8, n_layers=2),
    "skip_mlp": lambda: SkipMLP(G, W, width=8, n_layers=2),
    "unet": lambda: UNet(G, W, n_channels=4),
    "unet with gene identity": lambda: UNet(G, W, n_channels=4, gene_identity=True, n_identity=3),
    "latents": lambda: Latents(G, W, width=8, n_latents=4, n_heads=2),
    "latents of patches": lambda: Latents(G, W, width=8, n_latents=4, n_heads=2, patch=4),
}


@pytest.mark.parametrize("name", NETS)
def test_one_value_for_each_gene_that_depends_on_time_and_condition(name):
    torch.manual_seed(0)
    net = NETS[name]()
    for parameter in net.parameters():  # a new network may begin at zero
        torch.nn.init.normal_(parameter, std=0.3)
    x, t, c = torch.randn(6, G), torch.rand(6, 1), torch.randn(6, W)
    found = net(x, t, c)
    assert found.shape == (6, G)
    assert not torch.allclose(found, net(x, t * 0.5, c))
    assert not torch.allclose(found, net(x, t, c + 1))
    torch.testing.assert_close(net(x[2:3], t[2:3], c[2:3]), found[2:3], atol=1e-5, rtol=1e-4)
    found.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_latents_do_not_depend_on_the_order_of_the_genes():
    torch.manual_seed(0)
    net = NETS["latents"]()
    torch.nn.init.normal_(net.out.weight)
    x, t, c = torch.randn(3, G), torch.rand(3, 1), torch.randn(3, W)
    found, order = net(x, t, c), torch.randperm(G)
    net.identity.data = net.identity.data[order]
    torch.testing.assert_close(net(x[:, order], t, c), found[:, order], atol=1e-5, rtol=1e-4)
