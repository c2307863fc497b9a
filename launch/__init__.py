"""The same command, elsewhere: processes of this machine, Slurm, TPU VMs."""
