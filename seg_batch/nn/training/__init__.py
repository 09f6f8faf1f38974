"""The training of a network.

==================  ================================================================
``fit``             a model, samples and a recipe become the model that validated best
``loop``            step, note, validate, keep, go on where it was cut off
``step``            the compiled training step, on one device or several
``optimiser``       optimisers by name, the learning rate over a run
``input_pipeline``  samples by number, made ready by other threads
``checkpoint``      the whole state of a training on disk; ``history`` its rows
``tensorboard``     the same rows as TensorBoard reads them
``signals``         signals as a flag between two steps
``transfer``        what a training begins with: new weights, or fitted ones of another model
==================  ================================================================
"""
