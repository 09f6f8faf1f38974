"""ANU-Net: an attention-gated nested U-Net, its configuration and its pruning.

::

    X00 --G00--> X01 --G01--> X02        encoder  X[i][0] = Phi(pool(X[i-1][0]))
      \\        /  \\          /           lifted   U[i][k] = Up_i(X[i+1][k])
      X10 --G10--> X11                   gated    G[i][k] = Ag(X[i][k], U[i][k])
        \\       /                        node     X[i][j] = Phi([G[i][0..j-1], U[i][j-1]])
        X20                              head_N   on X[0][N]

Each U and each G is computed once and read by every later node of its row; Up_i has one set of
weights per level. With the default filters, one input channel and one class the network has
8 950 594 trainable parameters, the number in the paper's own table.

Source: Li et al., Computers & Graphics 90 (2020) 11-20, Eq. 4, Fig. 4-5 and Table 6.
"""

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor, attention_gate, conv_unit, encoder, head, shared_up
from seg_batch.nn.networks.config import NetworkConfig


class ANUNetConfig(NetworkConfig):
    """What is needed to build an ANU-Net: the fields of `NetworkConfig`, a head at every level."""

    title = "ANU-Net"


def anunet(config: ANUNetConfig) -> keras.Model:
    """Build the network: ``(B, *spatial, channels)`` to ``(B, *spatial, classes)`` per head.

    The outputs are probabilities, float32, shallowest head first; one tensor if there is one head.
    """
    inputs = keras.Input((None,) * config.rank + (config.channels,), name="image")
    row = _nodes(inputs, config)
    outputs = [head(row[n], config.classes, config.rank, f"head_{n}") for n in config.levels]
    return keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name="anunet")


def prune(model: keras.Model, level: int) -> keras.Model:
    """LN: the part of `model` that head N needs (nodes with i + j <= N), sharing its weights.

    Trains or predicts like any model; its only output is head N. Source: section 3.5.
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
    """The filters that one of our networks was built with, read from its encoder; () for others."""
    widths = {layer.name: layer.filters for layer in model.layers if hasattr(layer, "filters")}
    found: list[int] = []
    while (name := f"x_{len(found)}_0_conv1") in widths:
        found.append(int(widths[name]))
    return tuple(found)


def _nodes(inputs: Tensor, config: ANUNetConfig) -> list[Tensor]:
    """The top row X[0][0..depth] of the network."""
    rank, filters, depth = config.rank, config.filters, config.depth
    ups = [shared_up(filters[i], rank, f"up_{i}") for i in range(depth)]
    node = {(i, 0): x for i, x in enumerate(encoder(inputs, filters, rank))}
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
    return [node[0, j] for j in range(depth + 1)]
