"""A network on a GPU with everything around it there too: stored values up, labels back.

``programs``: what is computed, in ``keras.ops``; ``backends``: what TensorFlow and JAX say in other words;
``shared_batch``: one batch for tiles of several blocks and inputs. ``DEVICES`` keeps them for a process.
"""

from seg_batch.nn.engines.device.devices import DEVICES, Device, DeviceLost

__all__ = ["DEVICES", "Device", "DeviceLost"]
