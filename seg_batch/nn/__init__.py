"""The closed room: Keras and TensorFlow live here and nowhere else.

Arrays in, arrays out. Importing this package costs nothing; each module below it imports Keras on
its own, so that planning and ``--help`` never pay for TensorFlow.

==============  ====================================================================
``zoo``         the networks by name; ``config``: what any of them is built from
``blocks``      the pieces of ANU-Net: conv unit, shared up-sampling, attention gate
``anunet``      their wiring, its configuration, pruning
``relatives``   U-Net, U-Net++, attention U-Net, of the same blocks
``archs``       networks of other descent, one file each
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
``weights``     a weights file, its hash checked before anything reads it
``loading``     a model file, checked and loaded without running what is in it
``foreign``     the same for files that somebody else made
``importing``   any Keras model as one for a bundle; ``sides``: the patches it takes
``engines``     a model file as a predictor: which computes it, and why
``export``      a model in the formats of other runtimes, proven against Keras
``graph``       the layers of a model as a graph
``receptive``   how far a network sees, from its graph
``lint``        layers that see the whole patch, from its graph
``cost``        bytes and operations of one forward pass, from layer shapes alone
==============  ====================================================================
"""

import os

# Read by TensorFlow when its library is loaded: silences start-up chatter, keeps errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
