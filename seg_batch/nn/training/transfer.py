"""Initial weights of a training: new ones, or those of a model of other classes or channels."""

from dataclasses import dataclass

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.graph import first_weighted
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.channel_fitting import Names, fitted
from seg_batch.nn.networks.registry import architecture_of, build, part_of


@dataclass(frozen=True)
class TransferredModel:
    """`model` with the source's weights; `lines` name the layers that are new or were fitted."""

    model: keras.Model
    lines: tuple[str, ...]


def new_model(recipe: Recipe) -> keras.Model:
    """The recipe's network with new weights, drawn with its seed."""
    keras.utils.set_random_seed(recipe.fit.seed)
    card, network = recipe.card, recipe.network
    return build(
        network.arch,
        rank=card.rank,
        channels=len(card.channels),
        classes=len(card.classes),
        filters=network.filters,
        **network.options,
    )


def with_source_weights(
    model: keras.Model,
    source: keras.Model,
    *,
    channels: Names | None = None,
    classes: Names | None = None,
) -> TransferredModel:
    """Put the weights of `source` into `model`, layer by layer of the same name, in place.

    A head of the same shape and the same `classes` is copied, any other head stays new. The first
    convolution is fitted to other `channels` (`fitted`). Raises InputError if another layer has
    another shape, or if `source` has another architecture.
    """
    theirs = {layer.name: layer for layer in source.layers}
    extra = sorted(_body(source) - _body(model))
    if extra:
        raise InputError(_other(model, source, f"{extra[0]} is in one of them only"))
    first, new, lines = first_weighted(model), [], []
    renamed = classes is not None and not classes.same
    for layer in (layer for layer in model.layers if layer.weights):
        match = theirs.get(layer.name)
        if part_of(layer.name) == "head":
            if match is None or _shapes(match) != _shapes(layer) or renamed:
                new.append(layer.name)
                continue
        elif match is None:
            raise InputError(_other(model, source, f"{layer.name} is in one of them only"))
        if layer.name in first:
            lines.extend(_fit_first(layer, match, channels, _other(model, source, "")))
        elif _shapes(match) != _shapes(layer):
            reason = f"{layer.name} has {_shapes(match)[0]}, not {_shapes(layer)[0]}"
            raise InputError(_other(model, source, reason))
        else:
            layer.set_weights(match.get_weights())
    if new:
        lines.append(f"{' and '.join(new)} new, for {model.outputs[-1].shape[-1]} classes")
    return TransferredModel(model, tuple(lines))


def _fit_first(
    layer: keras.Layer, match: keras.Layer, names: Names | None, other: str
) -> list[str]:
    """Copy the first convolution, fitted to the new channels; a line about it if it was fitted."""
    kernel, *rest = match.get_weights()
    shape = tuple(layer.weights[0].shape)
    if (*kernel.shape[:-2], kernel.shape[-1]) != (*shape[:-2], shape[-1]):
        raise InputError(f"{other} ({layer.name} has {kernel.shape}, not {shape})")
    before, now = kernel.shape[-2], shape[-2]
    if names is not None and (len(names.source), len(names.model)) != (before, now):
        raise InputError(
            f"{len(names.source)} and {len(names.model)} names for {before} and {now} channels: "
            "give one name per channel"
        )
    if before == now and (names is None or names.same):
        layer.set_weights([kernel, *rest])
        return []
    layer.set_weights([fitted(kernel, now, names), *rest])
    return [f"{layer.name} was fitted from {before} to {now} channels, {_how(names)}"]


def _how(names: Names | None) -> str:
    shared = [name for name in names.model if name in set(names.source)] if names else []
    if not shared:
        return "each from the mean of all"
    if names and len(shared) == len(names.model):
        return "each by its name"
    return f"{', '.join(shared)} by name, the others from the mean of those that are gone"


def _body(model: keras.Model) -> set[str]:
    return {x.name for x in model.layers if x.weights and part_of(x.name) != "head"}


def _shapes(layer: keras.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _other(model: keras.Model, source: keras.Model, reason: str) -> str:
    ours, theirs = architecture_of(model), architecture_of(source)
    text = (
        f"these weights are of {_named(theirs)}, the network to be trained is {_named(ours)}: set "
        "network.arch, filters and options to those of the bundle, or train without --from"
    )
    return f"{text} ({reason})" if reason else text


def _named(network: dict[str, object]) -> str:
    if not network:
        return "an unknown network"
    return " with filters ".join(str(network[key]) for key in ("name", "filters") if key in network)
