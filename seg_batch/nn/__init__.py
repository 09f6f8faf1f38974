"""Neural networks: the only package that imports Keras, TensorFlow and OpenVINO.

Its interface is arrays. Importing the package costs nothing: its modules import Keras themselves,
so planning and ``--help`` never wait for TensorFlow.

=================  ====================================================================
``networks``       the networks, by name in ``networks.registry``
``losses``         soft Dice, cross-entropy, focal, their sum over deep-supervision heads
``training``       trains a model on samples by a recipe; returns the best validated state
``engines``        a model file as a predictor; the choice of the runtime
``export``         a model in the formats of other runtimes, compared with Keras
``analysis``       properties of a network's graph: receptive field, costs, patch shapes
``backend``        Keras and TensorFlow, loaded when they are first used
``noise``          what networks are tried and timed with
``own_process``    a module of ours as a process that ends
``rounding``       rounding to bfloat16 on CPUs that do not compute in it
``weights``        a weights file, its hash checked before anything reads it
``loading``        a bundle's model file, checked and loaded without running its code
``safe_config``    what an untrusted Keras file says of its layers, read without Keras
``safe_loading``   the same as ``loading`` for untrusted files
``wrap_foreign``   a foreign Keras model for a bundle
=================  ====================================================================
"""

import os

# TensorFlow reads it when its library is loaded: no start-up messages, errors only.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
