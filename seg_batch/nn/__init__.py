"""The closed room: Keras, TensorFlow and OpenVINO live here and nowhere else.

Arrays in, arrays out. Importing this package costs nothing; each module below it imports Keras on
its own, so that planning and ``--help`` never pay for TensorFlow.

=================  ====================================================================
``networks``       the networks, by name in ``networks.registry``
``losses``         soft Dice, cross-entropy, focal, their sum over deep-supervision heads
``training``       a model, samples and a recipe become the model that validated best
``engines``        a model file as a predictor: which computes it, and why
``export``         a model in the formats of other runtimes, proven against Keras
``analysis``       what a network's graph tells: receptive field, costs, patch shapes
``backend``        Keras and TensorFlow, loaded when they are first used
``rounding``       numbers rounded to bfloat16, where a CPU does not compute in it
``weights``        a weights file, its hash checked before anything reads it
``loading``        a model file, checked and loaded without running what is in it
``safe_loading``   the same for files that somebody else made
``wrap_foreign``   any Keras model as one for a bundle
=================  ====================================================================
"""

import os

# Read by TensorFlow when its library is loaded: silences start-up chatter, keeps errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
