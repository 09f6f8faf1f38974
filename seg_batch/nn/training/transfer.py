"""What a training begins with: new weights, or those of a model of other classes or channels."""

from dataclasses import dataclass

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.nn.analysis.graph import first_weighted
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.channel_fitting import Names, fitted
from seg_batch.nn.networks.registry import architecture_of, build, part_of


@dataclass(frozen=True)
class TransferredModel:
    """`model` with the source's weights, and what was not simply copied, one line each."""

    model: keras.Model
    lines: tuple[str, ...]


def fresh(recipe: Recipe) -> keras.Model:
    """The recipe's network with new weights, decided by its seed."""
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


def adapted(
    model: keras.Model,
    source: keras.Model,
    *,
    channels: Names | None = None,
    classes: Names | None = None,
) -> TransferredModel:
    """Put the weights of `source` into `model`, layer by layer of the same name, in place.

    Heads are copied where they have the same shape (and the same `classes`), else they stay new.
    The first convolution is fitted to other `channels` (`fitted`). Everything else must have the
    same shape: raises InputError where it does not, or where `source` is another architecture.
    """
    theirs = {layer.name: layer for layer in source.layers}
    extra = sorted(_body(source) - _body(model))
    if extra:
        raise InputError(_other(model, source, f"{extra[0]} is in one of them only"))
    first, new, lines = first_weighted(model), [], []
    for layer in (layer for layer in model.layers if layer.weights):
        found = theirs.get(layer.name)
        if part_of(layer.name) == "head":
            if found is None or _shapes(found) != _shapes(layer) or not (classes or _SAME).same:
                new.append(layer.name)
                continue
        elif found is None:
            raise InputError(_other(model, source, f"{layer.name} is in one of them only"))
        if layer.name in first:
            lines.extend(_fit_first(layer, found, channels, _other(model, source, "")))
        elif _shapes(found) != _shapes(layer):
            reason = f"{layer.name} has {_shapes(found)[0]}, not {_shapes(layer)[0]}"
            raise InputError(_other(model, source, reason))
        else:
            layer.set_weights(found.get_weights())
    if new:
        lines.append(f"{' and '.join(new)} new, for {model.outputs[-1].shape[-1]} classes")
    return TransferredModel(model, tuple(lines))


_SAME = Names((), ())


def _fit_first(
    layer: keras.Layer, found: keras.Layer, names: Names | None, other: str
) -> list[str]:
    """Copy the first convolution, fitted to the new channels; what was done, if anything."""
    kernel, *rest = found.get_weights()
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
    if names and len(shared) == len(names.model):
        return "each by its name"
    others = "the others" if shared else "each"
    kept = f"{', '.join(shared)} by name, " if shared else ""
    return f"{kept}{others} from the mean of {'those that are gone' if shared else 'all'}"


def _body(model: keras.Model) -> set[str]:
    return {x.name for x in model.layers if x.weights and part_of(x.name) != "head"}


def _shapes(layer: keras.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _other(model: keras.Model, source: keras.Model, reason: str) -> str:
    ours, theirs = architecture_of(model), architecture_of(source)
    text = (
        f"these weights are of {_said(theirs)}, the network to be trained is {_said(ours)}: set "
        "network.arch, filters and options to those of the bundle, or train without --from"
    )
    return f"{text} ({reason})" if reason else text


def _said(what: dict[str, object]) -> str:
    if not what:
        return "an unknown network"
    return " with filters ".join(str(what[key]) for key in ("name", "filters") if key in what)
