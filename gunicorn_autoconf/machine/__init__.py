"""What the kernel grants: its files to values, the cgroup tree, the memory of processes."""
