"""Running a study: Snakemake, single steps, locks, schedulers, and how far it is."""
