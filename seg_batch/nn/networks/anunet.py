"""ANU-Net: an attention-gated nested U-Net, its configuration and its pruning.

::

    X00 --G00--> X01 --G01--> X02        encoder  X[i][0] = Phi(pool(X[i-1][0]))
      \\        /  \\          /           lifted   U[i][k] = Up_i(X[i+1][k])
      X10 --G10--> X11                   gated    G[i][k] = Ag(X[i][k], U[i][k])
        \\       /                        node     X[i][j] = Phi([G[i][0..j-1], U[i][j-1]])
        X20                              head_N   on X[0][N]

Every later node of a row reads the same U and G; Up_i has one set of weights per level. With the
default filters, one input channel and one class the network has 8 950 594 trainable parameters, as
in the paper's table.

Source: Li et al., Computers & Graphics 90 (2020) 11-20, Eq. 4, Fig. 4-5 and Table 6.
"""

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor, attention_gate, conv_unit, encoder, shared_up
from seg_batch.nn.networks.config import NetworkConfig


class ANUNetConfig(NetworkConfig):
    """The configuration of an ANU-Net, which has no options; a head at every level by default."""

    arch, title = "anunet", "ANU-Net"


def anunet(config: ANUNetConfig) -> keras.Model:
    """An ANU-Net with new weights; inputs and outputs as in `NetworkConfig.model`."""
    image = config.image()
    return config.model(image, _top_row(image, config))


def prune(model: keras.Model, level: int) -> keras.Model:
    """LN: the part of `model` that head N needs (nodes with i + j <= N), with shared weights.

    Its only output is head N. Raises InputError for a level without a head. Source: section 3.5.
    """
    names = [layer.name for layer in model.layers if layer.name.startswith("head_")]
    if f"head_{level}" not in names:
        raise InputError(
            f"the model has no head_{level}, it has {', '.join(names) or 'none'}; "
            "choose one of those levels"
        )
    return keras.Model(
        model.inputs[0], model.get_layer(f"head_{level}").output, name=f"{model.name}_l{level}"
    )


def deepest(model: keras.Model) -> keras.Model:
    """The model for inference: only the last (deepest) head of a deeply supervised one."""
    return keras.Model(model.inputs[0], model.outputs[-1], name=model.name)


def filters_of(model: keras.Model) -> tuple[int, ...]:
    """The filters of a network of `blocks`, read from its encoder; () for other models."""
    widths = {layer.name: layer.filters for layer in model.layers if hasattr(layer, "filters")}
    filters: list[int] = []
    while (name := f"x_{len(filters)}_0_conv1") in widths:
        filters.append(int(widths[name]))
    return tuple(filters)


def _top_row(image: Tensor, config: ANUNetConfig) -> dict[int, Tensor]:
    """The nodes X[0][0..depth] by their column."""
    rank, filters, depth = config.rank, config.filters, config.depth
    ups = [shared_up(filters[i], rank, f"up_{i}") for i in range(depth)]
    node = {(i, 0): x for i, x in enumerate(encoder(image, filters, rank))}
    gated: dict[tuple[int, int], Tensor] = {}
    for j in range(1, depth + 1):
        for i in range(depth - j + 1):
            lifted, k = ups[i](node[i + 1, j - 1]), j - 1
            gated[i, k] = attention_gate(
                node[i, k], lifted, config.gate_width(i), rank, f"gate_{i}_{k}"
            )
            skips = [gated[i, k] for k in range(j)]
            joined = keras.layers.Concatenate(name=f"x_{i}_{j}_concat")([*skips, lifted])
            node[i, j] = conv_unit(joined, filters[i], rank, f"x_{i}_{j}")
    return {j: node[0, j] for j in range(depth + 1)}
