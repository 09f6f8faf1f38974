"""What a network has to beat: rules that look at one voxel, or at none."""
