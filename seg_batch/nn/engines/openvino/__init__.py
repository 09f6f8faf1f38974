"""Models on OpenVINO: the engine, conversion of Keras models, the cache of what was converted."""
