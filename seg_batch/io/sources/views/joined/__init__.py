"""Files with unequal pixels over one area, as one image; and bands whose values say where there is no data."""
