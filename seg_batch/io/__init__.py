"""Images are read in ``sources``, products written in ``sinks``; pictures and HTML pages."""
