"""The subcommands of `lepton-export`: each module registers its arguments and a `run` that calls the laboratory."""
