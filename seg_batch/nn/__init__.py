"""The closed room: Keras and TensorFlow live here and nowhere else.

Arrays in, arrays out. Importing this package costs nothing; each module below it imports Keras on
its own, so that planning and ``--help`` never pay for TensorFlow.

==============  ====================================================================
``blocks``      the pieces of ANU-Net: conv unit, shared up-sampling, attention gate
``anunet``      their wiring, its configuration, pruning
``losses``      soft Dice, cross-entropy, focal, their sum over deep-supervision heads
``fit``         a model, samples and a recipe become the model that validated best
``loop``        step, note, validate, keep, go on where it was cut off
``step``        the compiled training step, on one device or several
``optimise``    optimisers by name, the learning rate over a run
``feed``        samples by number, made ready by other threads
``checkpoint``  the whole state of a training on disk; ``history`` its rows
``interrupt``   signals as a flag between two steps
``adapt``       what a training begins with: new weights, or fitted ones of another model
``channels``    a kernel for other channels than it was trained on
``fold``        batch normalisation folded into the convolutions before it
``loading``     a model file, checked and loaded without running what is in it
``engine``      a model file as a predictor: one fixed shape, one load per process
``graph``       the layers of a model as a graph
``cost``        bytes and operations of one forward pass, from layer shapes alone
==============  ====================================================================
"""

import os

# Read by TensorFlow when its library is loaded: silences start-up chatter, keeps errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
