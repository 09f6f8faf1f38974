"""One image, another grid: a separable linear map per axis, block by block, the same bits for any blocks."""
