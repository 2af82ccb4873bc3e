"""The subcommands of ``nnunet-nacl``: one file each, whose heavy imports wait until the command runs."""
