"""Models in the formats of other runtimes: one process writes a file, another reads it back.

Importing this package costs nothing. Each format has a module with two functions, which run in new
processes (``subprocess_run``): ``write(order, folder) -> facts`` and ``read(path) -> Exported``.

==================  =================================================================
``formats``         the formats by name, their libraries and tolerances
``job``             the argument of writers, the result of readers
``subprocess_run``  a function in a process of its own: write, read back, predict
``saved_graph``     the SavedModel that other formats are converted from
``planar``          3-D pooling by 2-D pooling, for runtimes that have no other
``savedmodel``      TensorFlow Serving
``tflite``          LiteRT, in float32, float16, dynamic and int8
``onnx``            ONNX, for onnxruntime and TensorRT
``openvino``        OpenVINO IR, also quantised to int8: a bundle of its own
``keras_file``      Keras' own format, and HDF5
==================  =================================================================
"""
